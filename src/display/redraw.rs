//! When an output is drawn: at most once a vblank, and never when nothing changed.
//!
//! A frame that has something to show is queued and answered by a page flip. A frame that turned out empty has no flip, so a
//! timer stands in for the vblank once: clients' frame callbacks keep the rhythm of the screen, and then everything is quiet.

/// Where an output is between two frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Redraw {
    /// Nothing to do.
    #[default]
    Idle,
    /// To be drawn as soon as the loop has handled its events.
    Queued,
    /// A frame is on its way to the screen.
    WaitingForVblank {
        /// Draw again when it has arrived.
        again: bool,
    },
    /// An empty frame was drawn; the timer stands for the vblank that never comes.
    WaitingForTimer {
        /// Draw again when it fires.
        again: bool,
    },
}

/// What drawing came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drawn {
    /// A page flip was queued.
    Flip,
    /// Nothing had changed; the caller arms the timer.
    Empty,
    /// The screen is not ours at the moment.
    Skipped,
    /// The card or the renderer refused; the caller arms the timer, after which it is tried again.
    Failed,
}

impl Redraw {
    /// Something changed. Returns whether the caller has to wake the loop for it.
    pub fn queue(&mut self) -> bool {
        match self {
            Redraw::Idle => {
                *self = Redraw::Queued;
                true
            }
            Redraw::Queued => false,
            Redraw::WaitingForVblank { again } | Redraw::WaitingForTimer { again } => {
                *again = true;
                false
            }
        }
    }

    /// Whether it is this output's turn to be drawn.
    pub fn due(self) -> bool {
        self == Redraw::Queued
    }

    /// Whether something has changed that no frame shows yet.
    pub fn behind(self) -> bool {
        matches!(
            self,
            Redraw::Queued
                | Redraw::WaitingForVblank { again: true }
                | Redraw::WaitingForTimer { again: true }
        )
    }

    /// Whether a frame is on its way to the screen.
    pub fn in_flight(self) -> bool {
        matches!(self, Redraw::WaitingForVblank { .. })
    }

    /// After drawing.
    pub fn drawn(&mut self, outcome: Drawn) {
        *self = match outcome {
            Drawn::Flip => Redraw::WaitingForVblank { again: false },
            Drawn::Empty => Redraw::WaitingForTimer { again: false },
            Drawn::Failed => Redraw::WaitingForTimer { again: true },
            Drawn::Skipped => Redraw::Idle,
        };
    }

    /// The frame is on the screen. Returns whether another one is due.
    pub fn vblank(&mut self) -> bool {
        if let Redraw::WaitingForVblank { again } = *self {
            *self = if again { Redraw::Queued } else { Redraw::Idle };
        }
        self.due()
    }

    /// The timer fired. Returns whether another frame is due.
    pub fn timer(&mut self) -> bool {
        if let Redraw::WaitingForTimer { again } = *self {
            *self = if again { Redraw::Queued } else { Redraw::Idle };
        }
        self.due()
    }

    /// The screen was lost or regained: whatever was awaited will not come.
    pub fn reset(&mut self) {
        *self = Redraw::Idle;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn idle_costs_nothing_and_a_change_draws_once() {
        let mut redraw = Redraw::default();
        assert!(!redraw.due());
        assert!(redraw.queue());
        assert!(!redraw.queue(), "asked twice, woken once");
        assert!(redraw.due());
        redraw.drawn(Drawn::Flip);
        assert!(!redraw.due() && !redraw.queue());
        assert!(redraw.vblank(), "what changed during the flip is drawn after it");
        redraw.drawn(Drawn::Empty);
        assert!(!redraw.timer());
        assert_eq!(redraw, Redraw::Idle);
    }

    #[test]
    fn a_late_vblank_or_timer_changes_nothing() {
        let mut redraw = Redraw::default();
        redraw.queue();
        redraw.drawn(Drawn::Flip);
        redraw.reset();
        assert!(!redraw.vblank() && !redraw.timer());
        assert_eq!(redraw, Redraw::Idle);
        redraw.queue();
        redraw.drawn(Drawn::Empty);
        assert!(!redraw.vblank());
        assert_eq!(redraw, Redraw::WaitingForTimer { again: false });
    }

    #[derive(Debug, Clone, Copy)]
    enum Event {
        Change,
        Vblank,
        Timer,
        Draw(Drawn),
        Reset,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Change),
            Just(Event::Vblank),
            Just(Event::Timer),
            Just(Event::Draw(Drawn::Flip)),
            Just(Event::Draw(Drawn::Empty)),
            Just(Event::Reset),
        ]
    }

    proptest! {
        /// Whatever the order of events: a change is never forgotten, and two frames are never in flight.
        #[test]
        fn no_change_is_lost_and_one_frame_is_in_flight(events in proptest::collection::vec(event(), 0..200)) {
            let mut redraw = Redraw::default();
            let mut dirty = false;
            let mut in_flight = 0;
            for event in events {
                match event {
                    Event::Change => { redraw.queue(); dirty = true; }
                    Event::Vblank => { redraw.vblank(); in_flight = 0; }
                    Event::Timer => { redraw.timer(); }
                    Event::Reset => { redraw.reset(); dirty = false; in_flight = 0; }
                    Event::Draw(outcome) => if redraw.due() {
                        redraw.drawn(outcome);
                        dirty = false;
                        if outcome == Drawn::Flip { in_flight += 1; }
                    }
                }
                prop_assert!(in_flight <= 1);
                if dirty {
                    prop_assert!(redraw.behind(), "{redraw:?}");
                }
            }
        }
    }
}
