//! What a client and its keeper say to each other: words of eight bytes, one message a packet.
//!
//! The first word is the kind. Requests go on with the starts and ends of ranges, at most [`MAX_RANGES`];
//! answers with one word for each range of the request, 0 or the number of an error, in their order. What is
//! no such message ends the conversation: the keeper lets go.

/// The most ranges of a message.
pub(super) const MAX_RANGES: usize = 1000;
/// The most words of a message.
pub(super) const MAX_WORDS: usize = 1 + 2 * MAX_RANGES;

/// Watch these ranges. Answered with the same kind.
pub(super) const WATCH: u64 = 1;
/// Let go of these ranges. Answered with the same kind.
pub(super) const UNWATCH: u64 = 2;
/// These ranges are of huge pages, and are about to be armed. Not answered.
pub(super) const HUGE: u64 = 3;
/// Let go of everything, as if the client had ended. Answered with [`LET_GO`], and then with [`RESTORED`].
pub(super) const FINISH: u64 = 4;

/// Nothing is watched any more.
pub(super) const LET_GO: u64 = 5;
/// So many bytes of huge pages were put together again: one word. What cannot be yet, is put together later.
pub(super) const RESTORED: u64 = 6;
/// The keeper is confined and listens: its process number, one word.
pub(super) const READY: u64 = 7;
/// Is there a userfaultfd among the target's descriptors? One word: where in their list to go on, 0 for its
/// beginning. Answered with the same kind and three words: [`ABSENT`], [`PRESENT`] or [`UNKNOWN`]; where the
/// list goes on, 0 at its end; and how many there were in this part of it. Neither a name nor a number of any
/// descriptor is said.
pub(super) const OWN: u64 = 9;
/// There is none in this part.
pub(super) const ABSENT: u64 = 0;
/// There is one.
pub(super) const PRESENT: u64 = 1;
/// The descriptors cannot be looked at.
pub(super) const UNKNOWN: u64 = 2;

/// The keeper could not confine itself, and ends: the step ([`STEPS`]) and the number of the error, two
/// words.
pub(super) const FAILED: u64 = 8;

/// What the keeper does before it listens, and cannot do without.
pub(super) const STEPS: [&str; 5] = [
    "closing the descriptors of others",
    "giving up capabilities",
    "not to be looked into",
    "no new privileges",
    "its seccomp filter",
];

/// Addresses of user space end here, on every x86-64 machine.
const HIGHEST: u64 = 1 << 56;
const PAGE: u64 = 4096;

/// Whether it can be a range of pages of a process at all.
pub(super) fn is_range(start: u64, end: u64) -> bool {
    start < end && end <= HIGHEST && start.is_multiple_of(PAGE) && end.is_multiple_of(PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_pages_of_user_space_are_a_range() {
        assert!(is_range(4096, 8192) && is_range(0x7fff_ffff_e000, 0x7fff_ffff_f000));
        let others = [(0, 0), (8192, 4096), (1, 4096), (0, 4095), (u64::MAX - 4095, u64::MAX), (0, 1 << 57)];
        assert!(others.iter().all(|&(start, end)| !is_range(start, end)));
    }
}
