//! Which of the map's buffers may be written: never one that the screen shows or is about to show. Pure bookkeeping.
//!
//! Three buffers are enough: one on the screen, one in the frame under way, one being drawn. A picture that is finished while
//! two others are on their way becomes the front; the next is begun when a frame has freed a buffer.

/// The state of a handful of buffers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slots {
    count: usize,
    drawing: Option<usize>,
    front: Option<usize>,
    queued: Option<usize>,
    on_screen: Option<usize>,
}

impl Slots {
    /// All free.
    pub fn new(count: usize) -> Self {
        Self { count, drawing: None, front: None, queued: None, on_screen: None }
    }

    /// Takes a free buffer to draw into; `None` while one is being drawn, or all are in use.
    pub fn begin(&mut self) -> Option<usize> {
        if self.drawing.is_some() {
            return None;
        }
        let used = [self.front, self.queued, self.on_screen];
        let free = (0..self.count).find(|slot| !used.contains(&Some(*slot)))?;
        self.drawing = Some(free);
        Some(free)
    }

    /// The picture in this buffer is complete: it is what the next frame shows.
    pub fn finished(&mut self, slot: usize) {
        if self.drawing == Some(slot) {
            self.drawing = None;
            self.front = Some(slot);
        }
    }

    /// Drawing into this buffer failed.
    pub fn failed(&mut self, slot: usize) {
        if self.drawing == Some(slot) {
            self.drawing = None;
        }
    }

    /// What the next frame shows.
    pub fn front(&self) -> Option<usize> {
        self.front
    }

    /// What the screen shows.
    pub fn on_screen(&self) -> Option<usize> {
        self.on_screen
    }

    /// A frame that shows this buffer (or none) is on its way.
    pub fn queued(&mut self, slot: Option<usize>) {
        self.queued = slot;
    }

    /// That frame has arrived, and replaced the one before it.
    pub fn presented(&mut self) {
        self.on_screen = self.queued.take();
    }

    /// The screen shows nothing of ours any more.
    pub fn screen_lost(&mut self) {
        self.queued = None;
        self.on_screen = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn three_buffers_go_round() {
        let mut slots = Slots::new(3);
        assert_eq!(slots.begin(), Some(0));
        assert_eq!(slots.begin(), None, "one is drawn at a time");
        slots.finished(0);
        slots.queued(slots.front());
        assert_eq!(slots.begin(), Some(1), "the frame under way is left alone");
        slots.finished(1);
        slots.presented();
        slots.queued(slots.front());
        assert_eq!(slots.begin(), Some(2));
        slots.finished(2);
        assert_eq!(slots.begin(), None, "0 on screen, 1 under way, 2 in front");
        slots.presented();
        assert_eq!(slots.begin(), Some(0), "0 was replaced on the screen");
    }

    #[test]
    fn a_failed_picture_leaves_the_old_one_in_front() {
        let mut slots = Slots::new(3);
        slots.begin();
        slots.finished(0);
        assert_eq!(slots.begin(), Some(1));
        slots.failed(1);
        assert_eq!(slots.front(), Some(0));
        assert_eq!(slots.begin(), Some(1));
    }

    proptest! {
        /// Nothing that the screen shows, or will show, is ever written.
        #[test]
        fn what_is_shown_is_never_drawn_into(steps in proptest::collection::vec(0..5u8, 0..300), count in 1..5usize) {
            let mut slots = Slots::new(count);
            let mut in_flight = false;
            for step in steps {
                match step {
                    0 => { slots.begin(); }
                    1 => if let Some(slot) = slots.drawing { slots.finished(slot); }
                    2 => if !in_flight { slots.queued(slots.front()); in_flight = true; }
                    3 => if in_flight { slots.presented(); in_flight = false; }
                    _ => { slots.screen_lost(); in_flight = false; }
                }
                if let Some(slot) = slots.drawing {
                    prop_assert!(slot < count);
                    prop_assert!(![slots.front, slots.queued, slots.on_screen].contains(&Some(slot)));
                }
            }
        }
    }
}
