//! Which mappings are registered with the userfaultfd, in step with the target's table.
//!
//! A registered mapping joins its neighbour only if that is registered, too. So that the target's mappings stay as many as they
//! would be without us:
//!
//! * private reservations that cannot be written to (yet) are registered with the rest: what mprotect(2) makes
//!   writable of them, as each allocator does with its arenas, is then one with what is before it;
//! * mappings that touch each other are registered by one call, so that none grows into the other half way, and the call reaches over
//!   the gap behind them, so that what grows while it is on its way is not cut in two;
//! * a new private neighbour of a registered mapping has been touched, as a rule, before it can be registered, and the two then
//!   stay apart for good. Of memory that grows in such pieces, one is registered only when it is worth a mapping of its own; the next ones
//!   join it as long as it is not. So a run of n bytes becomes about as many mappings as the square root of n.
//!
//! And where the target has half as many mappings as it may have (vm.max_map_count), or a sixteenth of that
//! number is apart for our sake only, no new piece that the kernel could have joined to what is before it is
//! registered any more, whatever its size: it joins the others that are not, and the target comes no nearer
//! to the bound by us.

use nix::errno::Errno;

use super::CaptureError;
use super::attach::ProcessAttach;
use super::devices::Devices;
use super::range::{self, PageRange};
use super::region::{MemoryRegion, RegionKind};
use super::sys;
use super::unwatched::{Unwatched, UnwatchedRegion};
use super::yielding::Yielding;

/// Mappings that one call registers: it holds the target's `mmap_lock`, about a microsecond for each.
const AT_ONCE: usize = 512;
/// Reservations up to this size are gone over together with the mappings beside them, …
const NEAR: u64 = 64 << 20;
/// … and gaps up to this size, in which there is nothing to walk through.
const GAP: u64 = 1 << 30;
/// How far a call reaches into the gap behind a mapping.
const REACH: u64 = 1 << 30;

/// Pieces of one run that are registered as they come.
const PIECES: u64 = 16;
/// Behind those, a piece is registered that is this part of the run for each piece so far …
const SHARE: u64 = 1024;
/// … or has this many bytes for each of them.
const BYTES: u64 = 256 << 10;

/// The part of the mappings that a process may have which a target may have before it is spared, …
const FULL: usize = 2;
/// … and the part of them that may be apart because of us.
const APART: usize = 16;

/// What is registered.
#[derive(Debug, Default)]
pub(super) struct Registration {
    /// Where there is a mapping that was registered: sorted, disjoint.
    covered: Vec<PageRange>,
    /// Where one call may go over several of them: sorted, disjoint.
    spans: Vec<PageRange>,
    unwatched: Vec<UnwatchedRegion>,
    devices: Devices,
    begun: bool,
}

/// What becomes of one mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Registered,
    New,
    Left(Unwatched),
}

#[derive(Debug)]
struct Entry<'a> {
    region: &'a MemoryRegion,
    /// Where the next mapping of the table begins.
    next: u64,
    fate: Fate,
}

impl Registration {
    /// Writable mappings that are not watched.
    pub fn unwatched(&self) -> &[UnwatchedRegion] {
        &self.unwatched
    }

    /// How many mappings somebody else's userfaultfd watches, by the kernel's answers to our registrations.
    pub fn taken(&self) -> usize {
        let busy = |region: &&UnwatchedRegion| region.why == Unwatched::Refused(Errno::EBUSY);
        self.unwatched.iter().filter(busy).count()
    }

    /// Stretches from one mapping to another, near each other all, with none between them that is not
    /// registered.
    pub fn spans(&self) -> &[PageRange] {
        &self.spans
    }

    /// What is in these places now was not registered, although it was taken to be.
    pub fn forget(&mut self, places: &[PageRange]) {
        self.covered = range::subtract(&self.covered, places);
    }

    /// Registers what has taken the places of mappings that were registered, where that makes the same of the
    /// table as before: not where it grows beside its neighbours, and not where it is refused. Whether it is
    /// so.
    ///
    /// # Errors
    ///
    /// [`CaptureError::KeeperDied`] where there is nobody to do it.
    pub fn again(
        &mut self,
        target: &ProcessAttach,
        strangers: &[MemoryRegion],
        watched: &[MemoryRegion],
        yielding: &Yielding,
    ) -> Result<bool, CaptureError> {
        let grows = |region: &MemoryRegion| {
            let at = watched.partition_point(|other| other.start < region.start);
            let before = at.checked_sub(1).and_then(|before| watched.get(before));
            let behind = watched.get(at + 1);
            before.is_some_and(|before| joins(before, region))
                || behind.is_some_and(|behind| joins(region, behind))
        };
        if strangers.iter().any(|region| grows(region) || yielding.leaves(region).is_some()) {
            return Ok(false);
        }
        let entry = |region| Entry { region, next: region.end, fate: Fate::New };
        let mut entries: Vec<Entry<'_>> = strangers.iter().map(entry).collect();
        register(target, &mut entries)?;
        if entries.iter().any(|entry| entry.fate != Fate::Registered) {
            return Ok(false);
        }
        self.covered.extend(strangers.iter().map(MemoryRegion::range));
        range::merge(&mut self.covered);
        Ok(true)
    }

    /// Registers what is new in the table and lets go of what is to be left alone. The writable mappings that are registered now.
    ///
    /// # Errors
    ///
    /// [`CaptureError::KeeperDied`] where there is nobody to do it.
    pub fn follow<'a>(
        &mut self,
        target: &ProcessAttach,
        table: &'a [MemoryRegion],
        yielding: &Yielding,
    ) -> Result<Vec<&'a MemoryRegion>, CaptureError> {
        let mappings = table.len();
        let mut entries = self.entries(target.info.pid, table, yielding);
        self.let_go(target, &entries);
        if std::mem::replace(&mut self.begun, true) {
            let crowded = is_crowded(mappings, &entries, sys::max_map_count());
            leave_what_grows(&mut entries, crowded);
        }
        register(target, &mut entries)?;
        let registered = entries.iter().filter(|entry| entry.fate == Fate::Registered);
        self.covered = registered.map(|entry| entry.region.range()).collect();
        range::merge(&mut self.covered);
        self.spans = spans(&entries);
        let (mut watched, mut unwatched) = (Vec::with_capacity(entries.len()), Vec::new());
        for Entry { region, fate, .. } in entries {
            match fate {
                Fate::Left(why) if region.is_writable() => {
                    unwatched.push(UnwatchedRegion { region: region.clone(), why });
                }
                Fate::Registered | Fate::New if !region.is_reservation() || region.is_between_writes() => {
                    watched.push(region);
                }
                _ => {}
            }
        }
        self.unwatched = unwatched;
        Ok(watched)
    }

    fn entries<'a>(&mut self, pid: u32, table: &'a [MemoryRegion], yielding: &Yielding) -> Vec<Entry<'a>> {
        let mut covered = self.covered.iter().peekable();
        let mut entries = Vec::with_capacity(table.len());
        for (at, region) in table.iter().enumerate() {
            while covered.next_if(|covered| covered.end <= region.start).is_some() {}
            let inside = covered
                .peek()
                .is_some_and(|covered| covered.start <= region.start && region.end <= covered.end);
            let is_device = region.kind() == RegionKind::Special;
            let could = match is_device {
                true => region.is_writable() && region.has_device_name(),
                // What could be written to when it was registered stays watched without the right.
                false => {
                    region.is_writable() || region.is_reservation() || region.is_between_writes() || inside
                }
            };
            if !could {
                continue;
            }
            let is_device = is_device && !self.devices.is_file(pid, region);
            let fate = match (yielding.leaves(region), self.refused(region)) {
                _ if is_device => Fate::Left(Unwatched::Device),
                (Some(why), _) | (None, Some(why)) => Fate::Left(why),
                (None, None) if inside => Fate::Registered,
                (None, None) => Fate::New,
            };
            let next = table.get(at + 1).map_or(region.end, |next| next.start);
            entries.push(Entry { region, next, fate });
        }
        entries
    }

    /// What the kernel has refused before is not asked of it again.
    fn refused(&self, region: &MemoryRegion) -> Option<Unwatched> {
        let at = self.unwatched.binary_search_by_key(&region.start, |known| known.region.start).ok()?;
        let known = self.unwatched.get(at).filter(|known| known.region == *region)?;
        // Another's registration may be gone by now.
        matches!(known.why, Unwatched::Refused(errno) if errno != Errno::EBUSY).then_some(known.why)
    }

    /// Ends the registration of what is to be left alone.
    fn let_go(&self, target: &ProcessAttach, entries: &[Entry<'_>]) {
        for entry in entries {
            let Fate::Left(why) = entry.fate else { continue };
            let first = self.covered.partition_point(|covered| covered.end <= entry.region.start);
            let here = self.covered.iter().skip(first).take_while(|covered| covered.start < entry.region.end);
            for part in here.filter_map(|covered| covered.intersection(&entry.region.range())) {
                // Its kind and size only: a log outlives the care that somebody asked for.
                tracing::info!(kind = %entry.region.kind(), bytes = part.len(), reason = %why, "memory not watched any more");
                if let Err(errno) = target.unwatch(part) {
                    tracing::debug!(%errno, "letting go of a mapping");
                }
            }
        }
    }
}

/// Where one call may go over several mappings.
fn spans(entries: &[Entry<'_>]) -> Vec<PageRange> {
    let short = |entry: &Entry<'_>| entry.region.is_writable() || entry.region.len() <= NEAR;
    let near = |one: &Entry<'_>, next: &Entry<'_>| {
        let registered = one.fate == Fate::Registered && next.fate == Fate::Registered;
        let beside = one.next == next.region.start && one.next - one.region.end <= GAP;
        registered && beside && short(one) && short(next)
    };
    let whole =
        |span: &[Entry<'_>]| Some(PageRange::new(span.first()?.region.start, span.last()?.region.end));
    entries.chunk_by(near).filter_map(whole).collect()
}

/// Whether the kernel would have made one mapping of the two.
fn joins(one: &MemoryRegion, next: &MemoryRegion) -> bool {
    let private = |region: &MemoryRegion| region.inode == 0 && !region.is_shared();
    one.end == next.start
        && private(one)
        && private(next)
        && one.permissions == next.permissions
        && one.pathname == next.pathname
}

/// Whether a target with so many mappings of at most so many is to get none more by us.
fn is_crowded(mappings: usize, entries: &[Entry<'_>], most: usize) -> bool {
    let apart = || entries.windows(2).filter(|pair| joins(pair[0].region, pair[1].region)).count();
    mappings > most / FULL || mappings > most / APART && apart() > most / APART
}

/// Leaves those new pieces of growing memory that are not worth a mapping of their own yet, and of a crowded
/// target all.
fn leave_what_grows(entries: &mut [Entry<'_>], crowded: bool) {
    for run in entries.chunk_by_mut(|one, next| joins(one.region, next.region)) {
        let grows = run.iter().any(|entry| entry.fate == Fate::Registered);
        let (pieces, bytes) = (run.len() as u64, run.iter().map(|entry| entry.region.len()).sum());
        for entry in run.iter_mut().filter(|entry| grows && entry.fate == Fate::New) {
            if crowded {
                entry.fate = Fate::Left(Unwatched::Crowded);
            } else if entry.region.len() < worth(pieces, bytes) && entry.region.is_writable() {
                entry.fate = Fate::Left(Unwatched::Growing);
            }
        }
    }
}

/// Bytes from which on one more piece of a run of so many pieces and bytes is registered.
fn worth(pieces: u64, bytes: u64) -> u64 {
    let share = (u128::from(bytes) * u128::from(pieces) / u128::from(SHARE)) as u64;
    if pieces <= PIECES { 0 } else { share.min(pieces * BYTES) }
}

/// The stretches of mappings that touch each other and may be registered by one call, from the first new one to the last.
fn groups<'e, 'a>(entries: &'e mut [Entry<'a>]) -> impl Iterator<Item = &'e mut [Entry<'a>]> {
    let together = |one: &Entry<'_>, next: &Entry<'_>| {
        one.region.end == next.region.start
            && !matches!(one.fate, Fate::Left(_))
            && !matches!(next.fate, Fate::Left(_))
    };
    let touching = entries.chunk_by_mut(together).flat_map(|touching| touching.chunks_mut(AT_ONCE));
    touching.filter_map(|group| {
        let new = |entry: &Entry<'_>| entry.fate == Fate::New;
        let (first, last) = (group.iter().position(new)?, group.iter().rposition(new)?);
        group.get_mut(first..=last)
    })
}

/// Registers what is new: each group by one call where the kernel takes it whole, else mapping by mapping.
fn register(target: &ProcessAttach, entries: &mut [Entry<'_>]) -> Result<(), CaptureError> {
    let groups: Vec<&mut [Entry<'_>]> = groups(entries).collect();
    let wholes: Vec<PageRange> = groups.iter().filter_map(|group| whole(group)).collect();
    let mut alone = Vec::new();
    for (group, answer) in groups.into_iter().zip(target.watch_all(&wholes)?) {
        match answer {
            Ok(()) => group.iter_mut().for_each(|entry| entry.fate = Fate::Registered),
            Err(_) => alone.extend(group.iter_mut().filter(|entry| entry.fate == Fate::New)),
        }
    }
    let ranges: Vec<PageRange> = alone.iter().map(|entry| entry.region.range()).collect();
    for (entry, answer) in alone.into_iter().zip(target.watch_all(&ranges)?) {
        entry.fate = match answer {
            Ok(()) => Fate::Registered,
            Err(errno) => {
                tracing::debug!(kind = %entry.region.kind(), bytes = entry.region.len(), %errno, "mapping not watched");
                Fate::Left(Unwatched::Refused(errno))
            }
        };
    }
    Ok(())
}

/// From the first mapping of a group into the gap behind the last.
fn whole(group: &[Entry<'_>]) -> Option<PageRange> {
    let (first, last) = (group.first()?, group.last()?);
    let end = last.next.min(last.region.end.saturating_add(REACH)).max(last.region.end);
    Some(PageRange::new(first.region.start, end))
}

impl MemoryRegion {
    /// Whether this is private memory without a file that cannot be written to: a part of an allocator's reservation, or a stack's guard.
    fn is_reservation(&self) -> bool {
        self.is_anonymous() && !self.is_writable()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = 4096;

    fn region(start: u64, end: u64, permissions: &str) -> &'static MemoryRegion {
        Box::leak(Box::new(MemoryRegion {
            start,
            end,
            permissions: permissions.into(),
            offset: 0,
            device: "00:00".into(),
            inode: 0,
            pathname: None,
        }))
    }

    fn entry(start: u64, end: u64, permissions: &str, fate: Fate) -> Entry<'static> {
        Entry { region: region(start, end, permissions), next: end, fate }
    }

    /// A mapping that grows by one piece of `piece` bytes at a time, of which none joins what is registered.
    fn grown(piece: u64, pieces: u64) -> (usize, u64) {
        let mut run = vec![entry(0, piece, "rw-p", Fate::Registered)];
        let mut most_left = 0;
        for _ in 1..pieces {
            let end = run.last().map_or(0, |last| last.region.end);
            match run.last_mut() {
                // What is not registered takes the next piece in.
                Some(last) if last.fate != Fate::Registered => {
                    last.region = region(last.region.start, end + piece, "rw-p");
                }
                _ => run.push(entry(end, end + piece, "rw-p", Fate::New)),
            }
            if let Some(last) = run.last_mut().filter(|last| last.fate != Fate::Registered) {
                last.fate = Fate::New;
            }
            leave_what_grows(&mut run, false);
            for entry in &mut run {
                match entry.fate {
                    Fate::New => entry.fate = Fate::Registered,
                    Fate::Left(_) => most_left = most_left.max(entry.region.len() * 100 / (end + piece)),
                    Fate::Registered => {}
                }
            }
        }
        (run.len(), most_left)
    }

    #[test]
    fn memory_that_grows_in_pieces_stays_few_mappings_most_of_which_are_watched() {
        for (piece, pieces) in [(PAGE, 100_000), (33 * PAGE, 50_000), (16_384 * PAGE, 2000)] {
            let (mappings, left) = grown(piece, pieces);
            let bytes = piece * pieces;
            let bound = PIECES + bytes.isqrt() / 150;
            assert!(mappings as u64 <= bound, "{mappings} mappings of {pieces} pieces of {piece}");
            assert!(left <= 15, "{left} % of {bytes} bytes were not watched");
        }
        assert_eq!(grown(PAGE, 16), (16, 0), "a few are watched as they come");
    }

    #[test]
    fn only_what_the_kernel_would_join_is_a_run() {
        let mut run: Vec<Entry<'_>> = (0..40)
            .map(|at| {
                entry(at * PAGE, (at + 1) * PAGE, "rw-p", if at < 39 { Fate::Registered } else { Fate::New })
            })
            .collect();
        leave_what_grows(&mut run, false);
        assert_eq!(run[39].fate, Fate::Left(Unwatched::Growing));
        run[39].fate = Fate::New;
        run[38].region = region(38 * PAGE, 39 * PAGE, "rwxp");
        leave_what_grows(&mut run, false);
        assert_eq!(run[39].fate, Fate::New);
    }

    #[test]
    fn a_target_that_has_many_mappings_gets_none_more_by_us() {
        const MOST: usize = 65_530;
        let piece = |at: u64, fate| entry(at * PAGE, (at + 1) * PAGE, "rw-p", fate);
        let apart = |pieces: u64| (0..pieces).map(|at| piece(at, Fate::Registered)).collect::<Vec<_>>();
        let alone = |pieces: u64| (0..pieces).map(|at| piece(2 * at, Fate::Registered)).collect::<Vec<_>>();
        assert!(!is_crowded(30_000, &alone(30_000), MOST), "its own, and not half of what it may have");
        assert!(is_crowded(40_000, &alone(40_000), MOST));
        assert!(is_crowded(5000, &apart(5000), MOST));
        assert!(!is_crowded(4000, &apart(4000), MOST));
        // Each is worth its mapping otherwise.
        let mut run = vec![piece(0, Fate::Registered), piece(1, Fate::New), piece(9, Fate::New)];
        leave_what_grows(&mut run, true);
        assert_eq!(run[1].fate, Fate::Left(Unwatched::Crowded));
        assert_eq!(run[2].fate, Fate::New, "what has a mapping of its own in any case is watched");
    }

    #[test]
    fn a_group_reaches_from_the_first_new_mapping_to_the_last_and_over_none_that_is_left_alone() {
        let left = Fate::Left(Unwatched::OwnUserfaultfd);
        let mut entries = vec![
            entry(0, PAGE, "rw-p", Fate::Registered),
            entry(PAGE, 2 * PAGE, "---p", Fate::New),
            entry(2 * PAGE, 3 * PAGE, "rw-p", Fate::Registered),
            entry(3 * PAGE, 4 * PAGE, "---p", Fate::New),
            entry(4 * PAGE, 5 * PAGE, "rw-p", left),
            entry(5 * PAGE, 6 * PAGE, "rw-p", Fate::New),
            entry(9 * PAGE, 10 * PAGE, "rw-p", Fate::New),
        ];
        let found: Vec<(u64, u64)> = groups(&mut entries)
            .map(|group| (group[0].region.start / PAGE, group[group.len() - 1].region.end / PAGE))
            .collect();
        assert_eq!(found, [(1, 4), (5, 6), (9, 10)]);
    }

    #[test]
    fn a_span_has_nothing_in_it_that_is_not_registered() {
        let mut entries = vec![
            entry(0, PAGE, "rw-p", Fate::Registered),
            entry(PAGE, 2 * PAGE, "---p", Fate::Registered),
            entry(4 * PAGE, 5 * PAGE, "rw-p", Fate::Registered),
            entry(9 * PAGE, 10 * PAGE, "rw-p", Fate::Left(Unwatched::Growing)),
            entry(10 * PAGE, 11 * PAGE, "rw-p", Fate::Registered),
            entry(12 * PAGE, 13 * PAGE, "rw-p", Fate::Registered),
            entry(20 * PAGE + GAP, 21 * PAGE + GAP, "rw-p", Fate::Registered),
            entry(21 * PAGE + GAP, 22 * PAGE + GAP + NEAR, "---p", Fate::Registered),
            entry(22 * PAGE + GAP + NEAR, 23 * PAGE + GAP + NEAR, "rw-p", Fate::Registered),
        ];
        let starts: Vec<u64> = entries.iter().map(|entry| entry.region.start).collect();
        for (entry, next) in entries.iter_mut().zip(&starts[1..]) {
            entry.next = *next;
        }
        // The table has another one between these two.
        entries[4].next = 11 * PAGE;
        let found: Vec<u64> = spans(&entries).iter().map(|span| span.start).collect();
        let expected = [0, 3, 4, 5, 6, 7, 8].map(|at: usize| starts[at]);
        assert_eq!(found, expected);
        assert_eq!(spans(&entries)[0].end, 5 * PAGE);
    }
}
