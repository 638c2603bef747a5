//! A kiosk: each output has its program, which is started again whenever it ends, and there is one way out.

use std::time::{Duration, Instant};

use calloop::RegistrationToken;
use calloop::timer::{TimeoutAction, Timer};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tracing::{info, warn};

use super::desk::Desk;
use super::settings::KioskProgram;
use super::{Compositor, Notice, clients};

/// The first wait before a program is started again.
const FIRST: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST: Duration = Duration::from_secs(60);
/// A program that ran for so long was all right: the next wait is the first one.
const HEALTHY: Duration = Duration::from_secs(60);

/// How long to wait before a program is started again: twice as long each time, unless it ran for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Backoff {
    /// It ended after this time.
    fn after(&mut self, ran: Duration) -> Duration {
        if ran >= HEALTHY {
            *self = Self::default();
        }
        let wait = self.0;
        self.0 = (2 * wait).min(LONGEST);
        wait
    }
}

/// The program of an output, for people and the control socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramStatus {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Its process, while it runs.
    pub pid: Option<u32>,
    /// How often it was started again.
    pub restarts: u32,
    /// How it ended last, e.g. "signal: 9 (SIGKILL)".
    pub last_end: Option<String>,
}

/// The programs, by the [keys](super::settings::OutputIdentity::key) of their outputs, which may be unplugged
/// for a while.
#[derive(Default)]
pub(crate) struct Kiosk {
    /// Programs are started; before the session is ready they would not find it.
    ready: bool,
    programs: Vec<Program>,
}

struct Program {
    output: String,
    wanted: KioskProgram,
    pid: Option<u32>,
    started: Instant,
    backoff: Backoff,
    starts: u32,
    last_end: Option<String>,
    waiting: Option<RegistrationToken>,
}

impl Kiosk {
    /// The output whose program this process is of.
    pub(crate) fn output_of(&self, process: u32) -> Option<&str> {
        // A program may be a script that starts another one: all of it is one process group.
        let group = nix::unistd::getpgid(Some(Pid::from_raw(i32::try_from(process).ok()?))).ok()?.as_raw();
        let program = self.programs.iter().find(|program| {
            program.pid.and_then(|pid| i32::try_from(pid).ok()).is_some_and(|pid| pid == group)
        })?;
        Some(&program.output)
    }

    /// What is told about the program of this output.
    pub(crate) fn status(&self, output: &str) -> Option<ProgramStatus> {
        let program = self.programs.iter().find(|program| program.output == output)?;
        Some(ProgramStatus {
            command: program.wanted.command.clone(),
            pid: program.pid,
            restarts: program.starts.saturating_sub(1),
            last_end: program.last_end.clone(),
        })
    }

    /// Asks all programs to end.
    pub(crate) fn end(&mut self) {
        self.ready = false;
        self.programs.iter().for_each(Program::end);
    }
}

impl Program {
    fn end(&self) {
        if let Some(pid) = self.pid.and_then(|pid| i32::try_from(pid).ok()) {
            // It may have ended by itself at this moment.
            let _ = killpg(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }
}

impl Desk {
    /// Whether this is a kiosk.
    pub(crate) fn is_kiosk(&self) -> bool {
        self.config.settings.kiosk.enabled
    }
}

impl Compositor {
    /// Starts the programs of a kiosk. From now on each output that appears gets its own.
    pub fn start_kiosk(&mut self) {
        self.desk.kiosk.ready = true;
        self.tend_kiosk();
    }

    /// Every output that is there has its program, and no program is another than configured.
    pub(crate) fn tend_kiosk(&mut self) {
        if !self.desk.kiosk.ready {
            return;
        }
        let settings = &self.desk.config.settings.kiosk;
        let wanted: Vec<(String, KioskProgram)> = self
            .desk
            .outputs
            .iter()
            .filter(|_| settings.enabled)
            .filter_map(|state| {
                let program = settings.program.iter().find(|program| program.fits(&state.identity))?;
                Some((state.identity.key(), program.clone()))
            })
            .collect();
        // One whose output is unplugged runs on: it is where it was when that comes back.
        let there = |name: &str| self.desk.outputs.iter().any(|state| state.identity.key() == name);
        let handle = &self.desk.handle;
        self.desk.kiosk.programs.retain(|program| {
            let as_wanted = |(output, wanted): &(String, KioskProgram)| {
                *output == program.output && *wanted == program.wanted
            };
            let stays = wanted.iter().any(as_wanted) || (settings.enabled && !there(&program.output));
            if !stays {
                program.end();
                if let Some(token) = program.waiting {
                    handle.remove(token);
                }
            }
            stays
        });
        for (output, wanted) in wanted {
            match self.desk.kiosk.programs.iter().find(|program| program.output == output) {
                Some(program) if program.pid.is_some() || program.waiting.is_some() => continue,
                Some(_) => {}
                None => self.desk.kiosk.programs.push(Program {
                    output: output.clone(),
                    wanted,
                    pid: None,
                    started: Instant::now(),
                    backoff: Backoff::default(),
                    starts: 0,
                    last_end: None,
                    waiting: None,
                }),
            }
            self.start_program(&output);
        }
    }

    fn start_program(&mut self, output: &str) {
        let Some(program) = self.desk.kiosk.programs.iter_mut().find(|program| program.output == output)
        else {
            return;
        };
        program.waiting = None;
        program.started = Instant::now();
        program.starts += 1;
        let mut environment = self.desk.environment.clone();
        environment
            .extend(program.wanted.environment.iter().map(|(name, value)| (name.clone(), value.clone())));
        let command = program.wanted.command.clone();
        let name = output.to_owned();
        let ended = move |compositor: &mut Compositor, pid: u32, how: String| {
            compositor.program_ended(&name, Some(pid), how);
        };
        let started = clients::spawn(
            &self.desk.handle,
            &self.desk.socket,
            &environment,
            &command,
            |_| {},
            Box::new(ended),
        );
        match started {
            Ok(pid) => {
                self.desk.programs.add(pid);
                let programs = &mut self.desk.kiosk.programs;
                if let Some(program) = programs.iter_mut().find(|program| program.output == output) {
                    info!(output, pid, starts = program.starts, "the output's program is started");
                    program.pid = Some(pid);
                }
                self.desk.notify(Notice::Changed);
            }
            Err(error) => self.program_ended(output, None, error.to_string()),
        }
    }

    fn program_ended(&mut self, output: &str, pid: Option<u32>, how: String) {
        let there = self.desk.outputs.iter().any(|state| state.identity.key() == output);
        let ready = self.desk.kiosk.ready;
        let programs = &mut self.desk.kiosk.programs;
        // One that was replaced meanwhile is nobody's any more.
        let Some(program) =
            programs.iter_mut().find(|program| program.output == output && program.pid == pid)
        else {
            return;
        };
        program.pid = None;
        if !ready {
            return;
        }
        let wait = program.backoff.after(program.started.elapsed());
        warn!(output, how, again_in_s = wait.as_secs(), "the output's program has ended");
        program.last_end = Some(how);
        if there {
            let name = output.to_owned();
            let timer = Timer::from_duration(wait);
            let armed = self.desk.handle.insert_source(timer, move |_, (), compositor: &mut Compositor| {
                compositor.start_again(&name);
                TimeoutAction::Drop
            });
            match armed {
                Ok(token) => program.waiting = Some(token),
                Err(error) => warn!(%error, "no timer: it is started again with the next output"),
            }
        }
        self.desk.notify(Notice::Changed);
    }

    /// The wait is over; if the output went meanwhile, its program starts when it is back.
    fn start_again(&mut self, output: &str) {
        let there = self.desk.outputs.iter().any(|state| state.identity.key() == output);
        let programs = &mut self.desk.kiosk.programs;
        if let Some(program) = programs.iter_mut().find(|program| program.output == output) {
            program.waiting = None;
            if there {
                self.start_program(output);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_a_minute_and_starts_anew_after_a_good_run() {
        let s = Duration::from_secs;
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..8).map(|_| backoff.after(s(0)).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.after(s(59)), s(60), "a minute is what counts");
        assert_eq!(backoff.after(s(60)), s(1));
        assert_eq!(backoff.after(s(1)), s(2));
    }
}
