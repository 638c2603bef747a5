//! How much of the loop's time a client has: what it asks in one breath is answered in one go, and who goes
//! on without pause has a share that leaves the rest to the others.

use std::time::{Duration, Instant};

/// The longest breath. Eight hundred windows are closed in less.
const BREATH: Duration = Duration::from_millis(200);
/// One part in this of the time that passes is won back.
const PART: u32 = 4;
/// What those that have nothing left have together in each turn of the loop.
const LEFT: Duration = Duration::from_millis(20);
/// What a parcel of requests is to take. How long is known afterwards only, so parcels become smaller or
/// larger.
const AIM: Duration = Duration::from_millis(1);
/// Bytes of a parcel: eight are the smallest request.
const SMALLEST: usize = 256;
const LARGEST: usize = 1 << 12;
/// Bytes of answers to a parcel that are too many: they have to fit into the socket's buffer, of 200 KiB, or
/// the client counts as one that does not listen.
const ANSWERS: usize = 1 << 16;

/// A client's share.
#[derive(Debug)]
pub(crate) struct Share {
    left: Duration,
    /// What it had used up of this turn's.
    used: Duration,
    since: Instant,
    parcel: usize,
}

impl Share {
    pub(crate) fn new(now: Instant) -> Self {
        Self { left: BREATH, used: Duration::ZERO, since: now, parcel: 2 * SMALLEST }
    }

    /// A turn begins.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.left = (self.left + now.saturating_duration_since(self.since) / PART).min(BREATH);
        self.since = now;
        self.used = Duration::ZERO;
    }

    /// The bytes that it is read next.
    pub(crate) fn parcel(&self) -> usize {
        self.parcel
    }

    /// A parcel took this long, and was answered with so many bytes. Returns whether there may be another one
    /// in this turn, where so many clients ask.
    pub(crate) fn took(&mut self, time: Duration, answers: usize, asking: usize) -> bool {
        self.parcel = if time > 2 * AIM || answers > ANSWERS {
            (self.parcel / 2).max(SMALLEST)
        } else if time < AIM / 2 && answers < ANSWERS / 4 {
            (self.parcel * 2).min(LARGEST)
        } else {
            self.parcel
        };
        self.used += time;
        self.left = self.left.saturating_sub(time);
        let asking = u32::try_from(asking).unwrap_or(u32::MAX).max(1);
        self.left > Duration::ZERO || self.used < LEFT / asking
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_breath_is_answered_in_one_go_and_a_flood_bit_by_bit() {
        let start = Instant::now();
        let mut share = Share::new(start);
        let turn = |share: &mut Share, at: u32, asking| {
            share.begin(start + MS * at);
            (1..).find(|_| !share.took(MS, 0, asking)).expect("an end")
        };
        assert_eq!(turn(&mut share, 0, 1), 200);
        assert_eq!(turn(&mut share, 0, 1), 20, "nothing is left");
        assert_eq!(turn(&mut share, 0, 10), 2, "of that, with others");
        assert_eq!(turn(&mut share, 0, 1000), 1, "never nothing");
        assert_eq!(turn(&mut share, 100, 1), 25, "a part is won back");
        assert_eq!(turn(&mut share, 1_000_000, 1), 200, "and no more than a breath");
    }

    #[test]
    fn parcels_are_as_large_as_can_be_answered_soon() {
        let mut share = Share::new(Instant::now());
        for _ in 0..20 {
            share.took(Duration::ZERO, 0, 1);
        }
        assert_eq!(share.parcel(), LARGEST);
        share.took(Duration::ZERO, 1 << 20, 1);
        assert_eq!(share.parcel(), LARGEST / 2, "many answers");
        share.took(AIM, 0, 1);
        assert_eq!(share.parcel(), LARGEST / 2, "just right");
        for _ in 0..20 {
            share.took(MS * 50, 0, 1);
        }
        assert_eq!(share.parcel(), SMALLEST);
    }
}
