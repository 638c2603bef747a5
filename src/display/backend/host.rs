//! What the desktop around the window says, and that it is gone.
//!
//! smithay's source of these events pumps the connection before each sleep of the loop, and there does not
//! look whether it has ended: from then on it is silent, and the session would run on with nobody to see it.
//! So the pumping is done here.

use calloop::{EventSource, Poll, PostAction, Readiness, Token, TokenFactory};
use smithay::backend::winit::{WinitEvent, WinitEventLoop};
use smithay::reexports::winit::platform::pump_events::PumpStatus;

use crate::standard_error;

/// One thing that the desktop says.
pub(super) enum HostEvent {
    /// It is there, and says this.
    Of(WinitEvent),
    /// The connection has ended. Nothing follows.
    Gone,
}

/// The connection to the desktop.
pub(super) struct HostEvents {
    source: WinitEventLoop,
    /// Said before the loop slept, and not passed on yet.
    pending: Vec<WinitEvent>,
    gone: bool,
    /// With which this source wakes itself.
    token: Option<Token>,
}

impl HostEvents {
    pub fn new(source: WinitEventLoop) -> Self {
        Self { source, pending: Vec::new(), gone: false, token: None }
    }

    fn pump(&mut self) {
        if self.gone {
            return;
        }
        // The library says there that the connection has ended.
        standard_error::keep_usable();
        let Self { source, pending, .. } = self;
        self.gone = matches!(source.dispatch_new_events(|event| pending.push(event)), PumpStatus::Exit(_));
    }
}

impl EventSource for HostEvents {
    type Event = HostEvent;
    type Metadata = ();
    type Ret = ();
    type Error = std::io::Error;

    const NEEDS_EXTRA_LIFECYCLE_EVENTS: bool = true;

    fn before_sleep(&mut self) -> calloop::Result<Option<(Readiness, Token)>> {
        // Another queue of the same connection may have been read meanwhile: what it found wakes nobody.
        self.pump();
        let news = self.gone || !self.pending.is_empty();
        Ok(self.token.filter(|_| news).map(|token| (Readiness::EMPTY, token)))
    }

    fn process_events<F>(&mut self, _: Readiness, _: Token, mut callback: F) -> std::io::Result<PostAction>
    where
        F: FnMut(HostEvent, &mut ()),
    {
        self.pump();
        self.pending.drain(..).for_each(|event| callback(HostEvent::Of(event), &mut ()));
        if self.gone {
            callback(HostEvent::Gone, &mut ());
            return Ok(PostAction::Remove);
        }
        Ok(PostAction::Continue)
    }

    fn register(&mut self, poll: &mut Poll, factory: &mut TokenFactory) -> calloop::Result<()> {
        self.token = Some(factory.token());
        self.source.register(poll, factory)
    }

    fn reregister(&mut self, poll: &mut Poll, factory: &mut TokenFactory) -> calloop::Result<()> {
        self.token = Some(factory.token());
        self.source.reregister(poll, factory)
    }

    fn unregister(&mut self, poll: &mut Poll) -> calloop::Result<()> {
        self.token = None;
        self.source.unregister(poll)
    }
}
