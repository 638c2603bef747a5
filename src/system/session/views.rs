//! Which process each output's map shows, and what of it: what somebody said about it since the session began, else what its rule
//! or its span says, else what holds for the whole session.

use std::collections::{BTreeMap, BTreeSet};

use super::state::Session;
use super::watching::Watched;
use super::words;
use crate::display::Compositor;
use crate::display::settings::OutputIdentity;
use crate::ipc::Mode;

/// What decides about views, besides the configuration.
#[derive(Debug, Default)]
pub(super) struct Views {
    /// The session's own target, by its number.
    pub(super) main: Option<u32>,
    /// What somebody said about single outputs, by their identity.
    by_hand: BTreeMap<String, u32>,
    /// What single outputs are to show of theirs, as somebody said, by their identity.
    modes: BTreeMap<String, Mode>,
    /// The configured words, and the processes that they were found to mean.
    configured: BTreeMap<String, u32>,
    /// Processes that watched ones have forked: watched, whether they are shown or not.
    pub(super) followed: BTreeSet<u32>,
}

impl Views {
    /// These outputs show this process from now on.
    pub(super) fn assign(&mut self, outputs: &[OutputIdentity], pid: u32) {
        self.by_hand.extend(outputs.iter().map(|output| (output.key(), pid)));
    }

    /// These outputs show again what they would without a word.
    pub(super) fn release(&mut self, outputs: &[OutputIdentity]) {
        for output in outputs {
            self.by_hand.remove(&output.key());
            self.modes.remove(&output.key());
        }
    }

    /// The maps of these outputs show this from now on.
    pub(super) fn set_mode(&mut self, outputs: &[OutputIdentity], mode: Mode) {
        self.modes.extend(outputs.iter().map(|output| (output.key(), mode)));
    }

    /// What was said about single outputs holds no more.
    pub(super) fn forget_modes(&mut self) {
        self.modes.clear();
    }

    /// The process that a configured word was found to mean.
    pub(super) fn found(&mut self, word: &str, pid: u32) {
        self.configured.insert(word.to_owned(), pid);
    }
}

impl Session {
    /// The word that the configuration has for this output's map.
    fn configured_word(&self, output: &OutputIdentity) -> Option<String> {
        let settings = self.config.display_settings();
        let span = settings.span(output).and_then(|span| span.target.clone());
        span.or(settings.rule(output).target)
    }

    /// The number of the process that this output's map shows.
    pub(super) fn view(&self, output: &OutputIdentity) -> Option<u32> {
        let views = &self.views;
        let by_hand = views.by_hand.get(&output.key()).copied();
        let configured =
            || self.configured_word(output).and_then(|word| views.configured.get(&word).copied());
        let there = |pid: &u32| self.watched_by(*pid).is_some();
        by_hand.filter(there).or_else(|| configured().filter(there)).or(views.main)
    }

    /// What this output's map shows of it.
    pub(super) fn mode_of(&self, output: &OutputIdentity) -> Mode {
        let by_hand = self.views.modes.get(&output.key()).copied();
        by_hand.or_else(|| self.configured_mode(output)).unwrap_or(self.config.mode)
    }

    fn configured_mode(&self, output: &OutputIdentity) -> Option<Mode> {
        let settings = self.config.display_settings();
        let span = settings.span(output).and_then(|span| span.map_mode);
        span.or(settings.rule(output).map_mode).map(words::mode_of)
    }

    /// The outputs that keys and the picker are about when there is more than one: the one that has the keyboard, with all of its
    /// span.
    pub(super) fn in_hand(&self, compositor: &Compositor) -> Option<Vec<OutputIdentity>> {
        if compositor.views().len() < 2 {
            return None;
        }
        let output = compositor.active()?;
        let span = self.config.display_settings().span(&output).map(|span| span.name.clone());
        Some(span.map_or_else(|| vec![output], |span| compositor.called(&span)))
    }

    /// What is held of this process.
    pub(super) fn watched_by(&self, pid: u32) -> Option<&Watched> {
        self.watched.iter().find(|watched| watched.pid() == pid)
    }

    /// The session's own target.
    pub(super) fn main_mut(&mut self) -> Option<&mut Watched> {
        let pid = self.views.main?;
        self.watched.iter_mut().find(|watched| watched.pid() == pid)
    }

    /// The process that the session itself watches.
    pub(super) fn main(&self) -> Option<&Watched> {
        self.watched_by(self.views.main?)
    }

    /// Begins to watch what the configuration names for outputs that are there, and is not watched yet.
    pub(super) fn watch_configured(&mut self, compositor: &Compositor) {
        for (_, output) in compositor.views() {
            let Some(word) = self.configured_word(&output) else { continue };
            let known = self.views.configured.get(&word).and_then(|pid| self.watched_by(*pid));
            if known.is_none_or(|watched| watched.pipeline.ended().is_some()) {
                self.attach_configured(word);
            }
        }
    }

    /// The processes that somebody asked for, or that an output shows or will show when it is there.
    pub(super) fn wanted(&self) -> Vec<u32> {
        let Views { main, by_hand, configured, followed, modes: _ } = &self.views;
        main.iter().chain(by_hand.values()).chain(configured.values()).chain(followed).copied().collect()
    }

    /// Leaves every other process as it was found.
    pub(super) fn let_go_unwanted(&mut self) {
        let words: Vec<&String> = self
            .config
            .output
            .iter()
            .filter_map(|rule| rule.target.as_ref())
            .chain(self.config.span.iter().filter_map(|span| span.target.as_ref()))
            .collect();
        self.views.configured.retain(|word, _| words.contains(&word));
        let wanted = self.wanted();
        let idle: Vec<u32> =
            self.watched.iter().map(Watched::pid).filter(|pid| !wanted.contains(pid)).collect();
        for pid in idle {
            if let Err(error) = self.let_go(pid) {
                tracing::warn!("a process that was watched before is not wholly as it was: {error}");
            }
        }
    }
}
