//! The target picker without its picture: which processes are listed, which is chosen, what a key does. Pure.

/// A process that can be picked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its number.
    pub pid: u32,
    /// Its name, as the kernel has it.
    pub name: String,
    /// It belongs to the person whose session this is.
    pub own: bool,
    /// Its memory that is in use, bytes.
    pub resident_bytes: u64,
    /// Why it cannot be watched.
    pub refused: Option<String>,
}

/// A key, as far as the picker is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PickerKey {
    Text(String),
    Erase,
    EraseAll,
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    Enter,
    Escape,
}

/// What a key came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Stay,
    Close,
    /// This process is to be watched.
    Pick(u32),
}

/// The picker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picker {
    all: Vec<Candidate>,
    filter: String,
    /// Places in `all` of what passes the filter.
    shown: Vec<usize>,
    /// The chosen one, by its place in `shown`.
    chosen: usize,
    /// The first row that is to be seen.
    top: usize,
    /// How many rows are to be seen.
    rows: usize,
    /// The process that is watched at the moment.
    watched: Option<u32>,
    /// There was a list already.
    listed: bool,
    /// The process that is being attached to.
    attaching: Option<u32>,
    /// Why the last pick came to nothing.
    refusal: Option<String>,
}

impl Picker {
    pub(crate) fn new(watched: Option<u32>) -> Self {
        Self {
            all: Vec::new(),
            filter: String::new(),
            shown: Vec::new(),
            chosen: 0,
            top: 0,
            rows: 1,
            watched,
            listed: false,
            attaching: None,
            refusal: None,
        }
    }

    /// The processes as they are now. The chosen one stays chosen as long as it is there.
    pub(crate) fn list(&mut self, mut candidates: Vec<Candidate>) {
        candidates.sort_by_cached_key(|candidate| {
            (!candidate.own, candidate.refused.is_some(), candidate.name.to_lowercase(), candidate.pid)
        });
        let chosen = self.chosen().map(|candidate| candidate.pid);
        self.all = candidates;
        self.listed = true;
        self.apply_filter();
        let still = self.shown.iter().position(|at| Some(self.all[*at].pid) == chosen);
        self.choose(still.unwrap_or(self.chosen));
    }

    fn apply_filter(&mut self) {
        let words: Vec<String> = self.filter.split_whitespace().map(str::to_lowercase).collect();
        self.shown = (0..self.all.len()).filter(|at| matches(&self.all[*at], &words)).collect();
    }

    /// What is typed makes the list shorter, and the first of it is chosen.
    fn set_filter(&mut self, filter: String) {
        self.filter = filter;
        self.refusal = None;
        (self.chosen, self.top) = (0, 0);
        self.apply_filter();
    }

    /// So many rows are to be seen.
    pub(super) fn set_rows(&mut self, rows: usize) {
        self.rows = rows.max(1);
        self.choose(self.chosen);
    }

    /// Chooses this row, and scrolls to where it is seen.
    fn choose(&mut self, row: usize) {
        self.chosen = row.min(self.shown.len().saturating_sub(1));
        self.top = self.top.min(self.chosen).max((self.chosen + 1).saturating_sub(self.rows));
        self.top = self.top.min(self.shown.len().saturating_sub(self.rows));
    }

    /// Scrolls by so many rows; what is chosen goes along.
    pub(crate) fn scroll(&mut self, by: isize) {
        let last = self.shown.len().saturating_sub(self.rows);
        self.top = self.top.saturating_add_signed(by).min(last);
        self.chosen = self.chosen.clamp(self.top, (self.top + self.rows - 1).max(self.top));
        self.chosen = self.chosen.min(self.shown.len().saturating_sub(1));
    }

    /// Chooses what is in this row of those that are to be seen. Returns whether that is another one than before.
    pub(crate) fn point_at(&mut self, row: usize) -> bool {
        let seen = row < self.rows;
        let row = self.top + row;
        let other = seen && row < self.shown.len() && row != self.chosen;
        if other {
            self.chosen = row;
        }
        other
    }

    pub(crate) fn key(&mut self, key: PickerKey) -> Outcome {
        match key {
            PickerKey::Text(text) => self.set_filter(format!("{}{text}", self.filter)),
            PickerKey::Erase => {
                let mut filter = self.filter.clone();
                filter.pop();
                self.set_filter(filter);
            }
            PickerKey::EraseAll => self.set_filter(String::new()),
            PickerKey::Up => self.choose(self.chosen.saturating_sub(1)),
            PickerKey::Down => self.choose(self.chosen + 1),
            PickerKey::PageUp => self.choose(self.chosen.saturating_sub(self.rows)),
            PickerKey::PageDown => self.choose(self.chosen + self.rows),
            PickerKey::First => self.choose(0),
            PickerKey::Last => self.choose(usize::MAX),
            PickerKey::Enter => return self.pick(),
            PickerKey::Escape => return Outcome::Close,
        }
        Outcome::Stay
    }

    /// Takes the chosen one, if it may be watched.
    pub(crate) fn pick(&mut self) -> Outcome {
        let Some(candidate) = self.chosen() else { return Outcome::Stay };
        if let Some(reason) = &candidate.refused {
            self.refusal = Some(reason.clone());
            return Outcome::Stay;
        }
        if self.attaching.is_some() {
            return Outcome::Stay;
        }
        let pid = candidate.pid;
        (self.attaching, self.refusal) = (Some(pid), None);
        Outcome::Pick(pid)
    }

    /// The pick came to nothing.
    pub(crate) fn refuse(&mut self, reason: String) {
        (self.attaching, self.refusal) = (None, Some(reason));
    }

    fn chosen(&self) -> Option<&Candidate> {
        self.shown.get(self.chosen).map(|at| &self.all[*at])
    }

    pub(super) fn filter(&self) -> &str {
        &self.filter
    }

    /// The rows that are to be seen, and whether each is the chosen one.
    pub(super) fn visible(&self) -> impl Iterator<Item = (&Candidate, bool)> {
        self.shown
            .iter()
            .enumerate()
            .skip(self.top)
            .take(self.rows)
            .map(|(row, at)| (&self.all[*at], row == self.chosen))
    }

    pub(super) fn watched(&self) -> Option<u32> {
        self.watched
    }

    /// Which part of the list is to be seen: its begin and its length, in 0..1.
    pub(super) fn extent(&self) -> (f64, f64) {
        let all = self.shown.len().max(1) as f64;
        (self.top as f64 / all, (self.rows as f64 / all).min(1.0))
    }

    /// How many pass the filter, in words.
    pub(super) fn count(&self) -> String {
        match (self.listed, self.shown.len(), self.all.len()) {
            (false, ..) => "looking …".into(),
            (true, shown, all) if shown == all => format!("{all} processes"),
            (true, shown, all) => format!("{shown} of {all} processes"),
        }
    }

    /// What is to be said at the bottom.
    pub(super) fn message(&self) -> String {
        if let Some(reason) = &self.refusal {
            return reason.clone();
        }
        if let Some(pid) = self.attaching {
            return format!("attaching to {pid} …");
        }
        match self.chosen() {
            Some(Candidate { refused: Some(reason), .. }) => reason.clone(),
            Some(_) => "Enter watches it".into(),
            None if self.listed => "nothing has this name or number".into(),
            None => String::new(),
        }
    }
}

/// Every word is a part of the name or the begin of the number.
fn matches(candidate: &Candidate, words: &[String]) -> bool {
    let (name, pid) = (candidate.name.to_lowercase(), candidate.pid.to_string());
    words.iter().all(|word| name.contains(word) || pid.starts_with(word))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(pid: u32, name: &str, own: bool, refused: bool) -> Candidate {
        let refused = refused.then(|| format!("process {pid} may not be attached to"));
        Candidate { pid, name: name.into(), own, resident_bytes: 1 << 20, refused }
    }

    fn picker() -> Picker {
        let mut picker = Picker::new(Some(30));
        picker.set_rows(3);
        picker.list(vec![
            candidate(1, "systemd", false, true),
            candidate(20, "redis-server", true, false),
            candidate(30, "firefox", true, false),
            candidate(31, "Firefox helper", true, false),
            candidate(40, "sshd", true, true),
        ]);
        picker
    }

    fn names(picker: &Picker) -> Vec<String> {
        picker.visible().map(|(candidate, _)| candidate.name.clone()).collect()
    }

    fn chosen(picker: &Picker) -> Option<u32> {
        picker.visible().find(|(_, chosen)| *chosen).map(|(candidate, _)| candidate.pid)
    }

    #[test]
    fn own_processes_come_first_and_those_that_may_be_watched_before_the_others() {
        let mut picker = picker();
        assert_eq!(names(&picker), ["firefox", "Firefox helper", "redis-server"]);
        assert_eq!(picker.key(PickerKey::Last), Outcome::Stay);
        assert_eq!(names(&picker), ["redis-server", "sshd", "systemd"]);
        assert_eq!(chosen(&picker), Some(1));
        assert_eq!(picker.key(PickerKey::Enter), Outcome::Stay, "greyed");
        assert_eq!(picker.message(), "process 1 may not be attached to");
    }

    #[test]
    fn what_is_typed_is_looked_for_in_names_and_numbers() {
        let mut picker = picker();
        picker.key(PickerKey::Text("F".into()));
        picker.key(PickerKey::Text("ox redis".into()));
        assert_eq!(names(&picker), Vec::<String>::new(), "every word counts");
        picker.key(PickerKey::EraseAll);
        picker.key(PickerKey::Text("fox he".into()));
        assert_eq!((chosen(&picker), picker.count()), (Some(31), "1 of 5 processes".into()));
        picker.key(PickerKey::EraseAll);
        picker.key(PickerKey::Text("3".into()));
        assert_eq!(names(&picker), ["firefox", "Firefox helper"]);
        assert_eq!(picker.key(PickerKey::Enter), Outcome::Pick(30));
        assert_eq!(picker.key(PickerKey::Enter), Outcome::Stay, "once is enough");
        picker.refuse("it has ended".into());
        assert_eq!(picker.message(), "it has ended");
        assert_eq!(picker.key(PickerKey::Enter), Outcome::Pick(30));
        assert_eq!(picker.key(PickerKey::Escape), Outcome::Close);
    }

    #[test]
    fn the_chosen_one_stays_chosen_when_the_list_is_new() {
        let mut picker = picker();
        picker.key(PickerKey::Down);
        assert_eq!(chosen(&picker), Some(31));
        let mut more = picker.all.clone();
        more.push(candidate(2, "aaa", true, false));
        picker.list(more);
        assert_eq!(chosen(&picker), Some(31));
        let fewer = picker.all.iter().filter(|c| c.pid != 31).cloned().collect();
        picker.list(fewer);
        assert!(chosen(&picker).is_some());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Key(PickerKey),
        Scroll(isize),
        Point(usize),
        Rows(usize),
        List(Vec<u32>),
    }

    fn step() -> impl Strategy<Value = Step> {
        let key = prop_oneof![
            "[a-c0-9 ]{1,2}".prop_map(PickerKey::Text),
            Just(PickerKey::Erase),
            Just(PickerKey::EraseAll),
            Just(PickerKey::Up),
            Just(PickerKey::Down),
            Just(PickerKey::PageUp),
            Just(PickerKey::PageDown),
            Just(PickerKey::First),
            Just(PickerKey::Last),
            Just(PickerKey::Enter),
        ];
        prop_oneof![
            key.prop_map(Step::Key),
            (-9..9isize).prop_map(Step::Scroll),
            (0..9usize).prop_map(Step::Point),
            (0..9usize).prop_map(Step::Rows),
            // A number is of one process.
            prop::collection::btree_set(1..60u32, 0..30)
                .prop_map(|pids| Step::List(pids.into_iter().collect())),
        ]
    }

    proptest! {
        #[test]
        fn exactly_one_row_is_chosen_and_seen_whenever_there_is_one(steps in prop::collection::vec(step(), 0..60)) {
            let mut picker = picker();
            for step in steps {
                match step {
                    Step::Key(key) => { picker.key(key); }
                    Step::Scroll(by) => picker.scroll(by),
                    Step::Point(row) => { picker.point_at(row); }
                    Step::Rows(rows) => picker.set_rows(rows),
                    Step::List(pids) => picker.list(
                        pids.into_iter().map(|pid| candidate(pid, ["ab", "b", "c a"][pid as usize % 3], pid % 2 == 0, pid % 5 == 0)).collect(),
                    ),
                }
                let seen: Vec<bool> = picker.visible().map(|(_, chosen)| chosen).collect();
                prop_assert_eq!(seen.iter().filter(|chosen| **chosen).count(), usize::from(!picker.shown.is_empty()), "{:?}", picker);
                prop_assert_eq!(seen.len(), picker.rows.min(picker.shown.len()));
            }
        }
    }
}
