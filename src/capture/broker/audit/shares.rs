//! Which lines go when there is no room for all: those of who has the most.
//!
//! A user who attaches as often as they may fills the log in hours. What was written of others stays all the
//! same: each user has the same share of the room, what one leaves of it the others may have, and of who has
//! more the oldest lines go. How many these were, and from when to when, one line says in their place.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Event;

/// Users whose summaries are kept: a line each.
const USERS: usize = 1024;

/// What of a line matters here.
#[derive(Deserialize)]
struct Facts {
    time: Option<String>,
    event: Event,
    peer: User,
    #[serde(default)]
    target: Option<Pid>,
    #[serde(default)]
    summary: Option<Summary>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct User {
    uid: u32,
}

#[derive(Deserialize)]
struct Pid {
    pid: u32,
}

/// What is left of lines that are gone.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Summary {
    lines: u64,
    attaches: u64,
    /// Processes, those of each time that lines went counted anew.
    processes: u64,
    first: Option<String>,
    last: Option<String>,
}

impl Summary {
    fn add(&mut self, facts: &Facts, processes: &mut BTreeSet<u32>) {
        let (first, last) = match &facts.summary {
            Some(earlier) => {
                self.lines += earlier.lines;
                self.attaches += earlier.attaches;
                self.processes += earlier.processes;
                (earlier.first.clone(), earlier.last.clone())
            }
            None => {
                self.lines += 1;
                self.attaches += u64::from(facts.event == Event::Attach);
                processes.extend(facts.target.as_ref().map(|target| target.pid));
                (facts.time.clone(), facts.time.clone())
            }
        };
        self.first = self.first.take().or(first);
        self.last = last.or(self.last.take());
    }
}

/// Leaves of these logs, the oldest first, so many bytes at most, and what is said of the rest in front of
/// it.
pub(super) fn thin(logs: &[Vec<u8>], most: usize) -> Vec<Vec<u8>> {
    let mut held: BTreeMap<Option<u32>, usize> = BTreeMap::new();
    let lines: Vec<Vec<(Option<Facts>, &[u8])>> = logs
        .iter()
        .map(|log| {
            let lines = log.split_inclusive(|byte| *byte == b'\n');
            lines.map(|line| (serde_json::from_slice(line).ok(), line)).collect()
        })
        .collect();
    let user = |facts: &Option<Facts>| facts.as_ref().map(|facts| facts.peer.uid);
    for (facts, line) in lines.iter().flatten() {
        *held.entry(user(facts)).or_default() += line.len();
    }
    let share = share(held.values().copied().collect(), most);
    let mut over = held;
    over.values_mut().for_each(|bytes| *bytes = bytes.saturating_sub(share));
    let mut gone: BTreeMap<u32, (Summary, BTreeSet<u32>)> = BTreeMap::new();
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for log in &lines {
        let mut rest = Vec::new();
        for (facts, line) in log {
            let over = over.entry(user(facts)).or_default();
            // A summary is always made anew, so that there is one of each user.
            let summarised = facts.as_ref().is_some_and(|facts| facts.summary.is_some());
            if *over == 0 && !summarised {
                rest.extend_from_slice(line);
                continue;
            }
            *over = over.saturating_sub(line.len());
            if let Some(facts) = facts {
                let (summary, processes) = gone.entry(facts.peer.uid).or_default();
                summary.add(facts, processes);
            }
        }
        kept.push(rest);
    }
    if let Some(oldest) = kept.first_mut() {
        let said = gone.into_iter().take(USERS).flat_map(|(uid, (mut summary, processes))| {
            summary.processes += processes.len() as u64;
            line(uid, &summary).into_bytes()
        });
        let said: Vec<u8> = said.collect();
        oldest.splice(0..0, said);
    }
    kept
}

/// What each may have of `most` where they have so much: more than that only who has more.
fn share(mut held: Vec<usize>, most: usize) -> usize {
    held.sort_unstable();
    let mut left = most;
    for (at, bytes) in held.iter().enumerate() {
        let each = left / (held.len() - at);
        if *bytes > each {
            return each;
        }
        left -= bytes;
    }
    usize::MAX
}

fn line(uid: u32, summary: &Summary) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        time: String,
        event: Event,
        peer: User,
        summary: &'a Summary,
    }
    let time = jiff::Timestamp::now().to_string();
    let line = Line { time, event: Event::Summary, peer: User { uid }, summary };
    serde_json::to_string(&line).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_little_keeps_it_and_the_others_share_what_is_left() {
        assert_eq!(share(vec![10, 1000, 500], 300), 145);
        assert_eq!(share(vec![10, 20], 300), usize::MAX);
        assert_eq!(share(Vec::new(), 0), usize::MAX);
        assert_eq!(share(vec![300, 300, 300], 300), 100);
    }

    #[test]
    fn lines_that_nobody_understands_go_by_the_same_rule() {
        let attach = br#"{"event":"attach","peer":{"uid":7}}"#.as_slice();
        let logs = [b"some words\n".repeat(10), [b"more words\n".as_slice(), attach, b"\n"].concat()];
        let kept = thin(&logs, 80);
        assert_eq!(kept, [b"some words\n".repeat(3), logs[1].clone()]);
    }
}
