//! The processes that watched ones fork, where they are followed: each is watched as a target of its own from its birth to its end, and shown
//! when somebody asks for it.

use tracing::{debug, info, warn};

use super::state::Session;
use super::watching::monitor_config;
use crate::capture::{GlassRamMonitor, ProcessAttach};
use crate::channel;
use crate::display::Compositor;
use crate::system::follow::{FOLLOWED_AT_MOST, Followed, Follower};
use crate::system::snapshot::loop_failed;

impl Session {
    /// A watched process has forked this one, or a followed one has executed another program.
    pub(super) fn found(&mut self, pid: u32) {
        if self.views.followed.len() >= FOLLOWED_AT_MOST {
            warn!(pid, "not followed: {FOLLOWED_AT_MOST} forked processes are watched already");
            return;
        }
        match self.follower() {
            Ok(follower) => follower.found(pid),
            Err(error) => warn!(pid, "not followed: {error}"),
        }
    }

    /// The thread that attaches to them, started when it is needed first.
    fn follower(&mut self) -> crate::Result<&Follower> {
        let follower = match self.follower.take() {
            Some(follower) => follower,
            None => self.start_following()?,
        };
        Ok(self.follower.insert(follower))
    }

    fn start_following(&self) -> crate::Result<Follower> {
        let (follower, attached) = Follower::start(self.attacher.clone(), self.config.rung)?;
        let me = self.me.clone();
        let take = move |event, (): &mut (), compositor: &mut Compositor| {
            let (Some(session), channel::Event::Msg(followed)) = (me.upgrade(), event) else { return };
            match followed {
                Followed::Attached(attached) => session.borrow_mut().follow(compositor, *attached),
                Followed::Missed { pid, reason } => warn!(pid, "not followed: {reason}"),
            }
        };
        self.handle.insert_source(attached, take).map_err(loop_failed)?;
        Ok(follower)
    }

    fn follow(&mut self, compositor: &mut Compositor, attached: ProcessAttach) {
        let info = attached.info().clone();
        let watched = self.watched_by(info.pid).is_some_and(|watched| watched.pipeline.ended().is_none());
        if watched {
            return;
        }
        let monitor = match GlassRamMonitor::watch(attached, monitor_config(&self.config)) {
            Ok(monitor) => monitor,
            Err(error) => {
                // It is about to be another program, or has ended.
                debug!(pid = info.pid, %error, "a child is not watched yet");
                return self.found(info.pid);
            }
        };
        self.views.followed.insert(info.pid);
        match self.watch_beside(monitor.into()) {
            Ok(()) => {
                info!("{} {} was forked by a watched process, and is followed", info.comm, info.pid);
                self.show_view(compositor, Some(info.pid));
                self.publish(compositor);
            }
            Err(error) => {
                self.views.followed.remove(&info.pid);
                warn!(pid = info.pid, "not followed: {error}");
            }
        }
    }

    /// A followed process has ended, and is let go unless it is being shown.
    pub(super) fn unfollow(&mut self, pid: u32) {
        if self.views.followed.remove(&pid) && !self.wanted().contains(&pid) {
            let me = self.me.clone();
            self.handle.insert_idle(move |_| {
                let Some(session) = me.upgrade() else { return };
                let mut session = session.borrow_mut();
                let over = session.watched_by(pid).is_some_and(|watched| watched.pipeline.ended().is_some());
                if over && let Err(error) = session.let_go(pid) {
                    warn!("a followed process is not wholly as it was: {error}");
                }
            });
        }
    }
}
