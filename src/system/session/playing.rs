//! A recording in the session: held, sped up, sought in.

use std::time::Duration;

use super::state::Session;
use super::watching::Watched;
use crate::capture::recording::Replay;
use crate::display::Compositor;
use crate::ipc::{ReplayAction, ReplayState, Response};
use crate::system::words::clock;

impl Session {
    /// Does to the recording what a client asks for, and answers with how it is then.
    pub(super) fn steer(
        &mut self,
        compositor: &mut Compositor,
        action: ReplayAction,
    ) -> Result<Response, String> {
        let nothing = || "no recording is shown: start one with `memory-glass replay FILE`".to_owned();
        let main = self.views.main;
        let watched =
            self.watched.iter_mut().find(|watched| Some(watched.pid()) == main).ok_or_else(nothing)?;
        let source = watched.source.as_ref().ok_or_else(nothing)?;
        let mut windows = source.dispatcher.as_source_mut();
        let replay = windows.replay_mut().ok_or_else(nothing)?;
        let seek = match action {
            ReplayAction::Status => None,
            ReplayAction::Pause => {
                replay.set_paused(true);
                None
            }
            ReplayAction::Play => {
                replay.set_paused(false);
                // Played at its end, it begins again.
                replay.is_over().then_some(Duration::ZERO)
            }
            ReplayAction::Speed { percent } => {
                replay.set_speed(f64::from(percent) / 100.0);
                None
            }
            ReplayAction::Seek { position_ms } => Some(Duration::from_millis(position_ms)),
        };
        if let Some(position) = seek {
            let run_up = replay.seek(position);
            let begin = replay.position().saturating_sub(run_up.iter().map(|window| window.length).sum());
            let failed = |error: crate::GlassRamError| error.to_string();
            watched.pipeline.restart(begin).map_err(failed)?;
            for window in &run_up {
                watched.pipeline.window(window).map_err(failed)?;
            }
        }
        let state = state(replay);
        drop(windows);
        watched.played(state);
        if self.frozen.is_none() {
            self.show_view(compositor, main);
        }
        self.publish(compositor);
        Ok(Response::Replay(state))
    }
}

impl Watched {
    /// The recording is there now, and the picture says so.
    pub(super) fn played(&mut self, state: ReplayState) {
        self.pipeline.set_note(Some(words(&state)));
        self.play = Some(state);
    }
}

pub(super) fn state(replay: &Replay) -> ReplayState {
    let milliseconds = |time: Duration| time.as_millis() as u64;
    ReplayState {
        position_ms: milliseconds(replay.position()),
        length_ms: milliseconds(replay.length()),
        speed_percent: (replay.speed() * 100.0).round() as u32,
        paused: replay.is_paused(),
        over: replay.is_over(),
    }
}

/// "0:12 of 1:05 at 2×".
fn words(state: &ReplayState) -> String {
    let clock = |ms| clock(Duration::from_millis(ms));
    let speed = match state {
        ReplayState { paused: true, .. } => " paused".into(),
        ReplayState { speed_percent: 100, .. } => String::new(),
        ReplayState { speed_percent, .. } => format!(" at {}×", f64::from(*speed_percent) / 100.0),
    };
    format!("recording {} of {}{speed}", clock(state.position_ms), clock(state.length_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_say_where_and_how_fast() {
        let state = ReplayState {
            position_ms: 12_345,
            length_ms: 3_665_000,
            speed_percent: 100,
            paused: false,
            over: false,
        };
        assert_eq!(words(&state), "recording 0:12 of 61:05");
        assert_eq!(words(&ReplayState { speed_percent: 250, ..state }), "recording 0:12 of 61:05 at 2.5×");
        assert_eq!(words(&ReplayState { paused: true, ..state }), "recording 0:12 of 61:05 paused");
    }
}
