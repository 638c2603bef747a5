//! What takes longer than a frame is done on a thread of its own; its outcome comes back over a channel.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use super::control::ClientId;
use super::state::Session;
use super::watching::{View, Watched};
use super::words;
use crate::Result;
use crate::capture::{self, Attacher, ProcessAttach, is_private};
use crate::display::Compositor;
use crate::ipc::{Candidate, Reply, Response};
use crate::render::Image;
use crate::system::target::resolve;

/// Who is told what became of an attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// A client of the control socket.
    Client(ClientId),
    /// The person at the picker.
    Picker,
    /// Nobody: the configuration wants it.
    Configuration,
}

/// What a thread has come to.
pub(super) enum Finished {
    /// A process is attached to, unless it is watched already.
    Attach(Asker, View, Result<(u32, Option<Box<ProcessAttach>>)>),
    /// The processes are listed, for a client or for the picker.
    Targets(Option<ClientId>, Vec<Candidate>),
    /// A picture is written, for a client or for a person at the keyboard.
    Screenshot(Option<ClientId>, Reply),
}

impl Session {
    /// Attaches to a process.
    pub(super) fn start_attach(&mut self, asker: Asker, word: String, view: View) -> Result<(), String> {
        if self.attaching {
            return Err("another process is just being attached to: try again in a moment".into());
        }
        let live = |watched: &&Watched| watched.pipeline.ended().is_none() && watched.play.is_none();
        let current: Vec<u32> = self.watched.iter().filter(live).map(Watched::pid).collect();
        let (attacher, rung) = (self.attacher.clone(), self.config.rung);
        self.start_job("attach", move || {
            let attached = resolve(&word).and_then(|pid| {
                if current.contains(&pid) {
                    return Ok((pid, None));
                }
                attacher.attach_by(pid, rung).map(|attached| (pid, Some(Box::new(attached))))
            });
            Finished::Attach(asker, view, attached)
        })?;
        self.attaching = true;
        Ok(())
    }

    /// Attaches to a process that the configuration names, as soon as nothing else is being attached to.
    pub(super) fn attach_configured(&mut self, word: String) {
        if !self.waiting.contains(&word) {
            self.waiting.push(word);
        }
        self.attach_next();
    }

    fn attach_next(&mut self) {
        if self.attaching || self.waiting.is_empty() {
            return;
        }
        let word = self.waiting.remove(0);
        if let Err(error) = self.start_attach(Asker::Configuration, word.clone(), View::Configured(word)) {
            warn!(error, "a configured target is not watched");
        }
    }

    /// Lists the processes for this client, or for the picker.
    pub(super) fn start_targets(&mut self, id: Option<ClientId>) -> Result<(), String> {
        let (attacher, followed) = (self.attacher.clone(), self.views.followed.clone());
        self.start_job("targets", move || Finished::Targets(id, candidates(&attacher, &followed)))
    }

    /// Writes a picture of this output, or of the one with the focus, into this file or a new one.
    pub(super) fn screenshot(
        &mut self,
        compositor: &mut Compositor,
        id: Option<ClientId>,
        path: Option<String>,
        output: Option<&str>,
    ) -> Result<(), String> {
        if path.as_ref().is_some_and(|path| !Path::new(path).is_absolute()) {
            return Err(
                "a screenshot needs an absolute path: whose directory is meant is not known here".into()
            );
        }
        let image = compositor.screenshot(output).map_err(|error| error.to_string())?;
        let directory = self.config.screenshot_directory();
        // As private as what may be seen on it.
        let private = nix::unistd::geteuid().is_root()
            || self.watched.iter().any(|watched| watched.play.is_none() && is_private(watched.pid()));
        self.start_job("screenshot", move || {
            let written = write(&image, path.map(PathBuf::from), &directory, private).map(|path| {
                Response::Screenshot {
                    path: path.to_string_lossy().into_owned(),
                    width: image.width,
                    height: image.height,
                }
            });
            Finished::Screenshot(id, written)
        })
    }

    fn start_job(&self, name: &str, work: impl FnOnce() -> Finished + Send + 'static) -> Result<(), String> {
        let done = self.jobs.clone();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // When nobody listens any more the session is ending, and what was attached to is let go
                // here.
                let _ = done.send(work());
            })
            .map(drop)
            .map_err(|error| format!("no thread for it ({error}): raise the limit on tasks (`ulimit -u`)"))
    }

    /// A thread has done its work.
    pub(super) fn finished(&mut self, compositor: &mut Compositor, finished: Finished) {
        match finished {
            Finished::Attach(asker, view, attached) => {
                self.attaching = false;
                let outcome = attached.and_then(|(pid, attached)| match attached {
                    Some(attached) => self.watch(compositor, *attached, &view),
                    None => {
                        self.look_at(compositor, pid, &view);
                        Ok(())
                    }
                });
                let outcome = outcome.map_err(|error| error.to_string());
                match (asker, outcome) {
                    (Asker::Client(id), outcome) => {
                        self.answer(compositor, id, &outcome.map(|()| Response::Done));
                    }
                    (Asker::Picker, outcome) => compositor.picked(outcome),
                    (Asker::Configuration, Ok(())) => {}
                    (Asker::Configuration, Err(error)) => {
                        warn!("a configured target is not watched: {error}");
                    }
                }
                self.attach_next();
            }
            Finished::Targets(Some(id), candidates) => {
                self.answer(compositor, id, &Ok(Response::Targets(candidates)));
            }
            Finished::Targets(None, candidates) => {
                self.listing = false;
                compositor.set_candidates(candidates.into_iter().map(words::display_candidate).collect());
            }
            Finished::Screenshot(id, reply) => {
                match &reply {
                    Ok(Response::Screenshot { path, .. }) => info!(path, "a screenshot is written"),
                    Ok(_) => {}
                    Err(error) => warn!(error, "no screenshot"),
                }
                if let Some(id) = id {
                    self.answer(compositor, id, &reply);
                }
            }
        }
    }
}

/// Every process with memory of its own: those of our user first, each group by number.
fn candidates(attacher: &Attacher, followed: &BTreeSet<u32>) -> Vec<Candidate> {
    let uid = nix::unistd::geteuid().as_raw();
    let processes: Vec<_> = capture::processes().filter(|process| process.resident_bytes.is_some()).collect();
    let pids: Vec<u32> = processes.iter().map(|process| process.pid).collect();
    let mut candidates: Vec<Candidate> = processes
        .into_iter()
        .zip(attacher.may_watch(&pids))
        .filter_map(|(process, refused)| {
            Some(Candidate {
                pid: process.pid,
                name: process.comm,
                own: process.uid == uid,
                resident_bytes: process.resident_bytes?,
                refused,
                followed: followed.contains(&process.pid),
            })
        })
        .collect();
    candidates.sort_by_key(|candidate| (!candidate.own, candidate.pid));
    candidates
}

fn write(image: &Image, path: Option<PathBuf>, directory: &Path, private: bool) -> Result<PathBuf, String> {
    let path = match path {
        Some(path) => path,
        None => {
            std::fs::create_dir_all(directory).map_err(|error| {
                format!("{} cannot be made ({error}): configure screenshot-directory", directory.display())
            })?;
            let directory = std::path::absolute(directory).unwrap_or(directory.to_owned());
            unused(&directory, &time_name(jiff::Timestamp::now()))
        }
    };
    let written = if private { image.write_private_png(&path) } else { image.write_png(&path) };
    written.map_err(|error| error.to_string())?;
    Ok(path)
}

/// A name that no file has yet.
fn unused(directory: &Path, time: &str) -> PathBuf {
    let plain = directory.join(format!("memory-glass-{time}.png"));
    let numbered = |number: u32| directory.join(format!("memory-glass-{time}-{number}.png"));
    std::iter::once(plain.clone()).chain((2..1000).map(numbered)).find(|path| !path.exists()).unwrap_or(plain)
}

/// A time as "2026-11-23T10-45-00Z": sorts by name, and has no colon that some file systems refuse.
fn time_name(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H-%M-%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_screenshot_is_overwritten_by_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let image = Image { width: 1, height: 1, pixels: vec![0xff00_0000] };
        let folder = directory.path().join("new");
        let first = write(&image, None, &folder, false).unwrap();
        let second = write(&image, None, &folder, false).unwrap();
        assert!(first.exists() && second.exists() && first != second);
        let gone = directory.path().join("no/such/place.png");
        assert!(write(&image, Some(gone), &folder, false).is_err());
    }
}
