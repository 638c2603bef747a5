//! A channel into an event loop.
//!
//! It does what `calloop::channel` does, which panics where it cannot be made: a process that has no descriptors left is told so
//! instead.

use std::io;
use std::sync::mpsc::{self, TryRecvError};

pub use calloop::channel::Event;
use calloop::ping::{Ping, PingError, PingSource, make_ping};
use calloop::{EventSource, Poll, PostAction, Readiness, Token, TokenFactory};

/// The end of any thread. The loop hears of it when the last one is dropped.
#[derive(Debug)]
pub struct Sender<T> {
    queue: mpsc::Sender<T>,
    // Dropped after the queue, so that whoever is woken finds it closed.
    wake: WakeOnDrop,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), wake: WakeOnDrop(self.wake.0.clone()) }
    }
}

#[derive(Debug)]
struct WakeOnDrop(Ping);

impl Drop for WakeOnDrop {
    fn drop(&mut self) {
        self.0.ping();
    }
}

impl<T> Sender<T> {
    /// Never blocks. What nobody takes any more comes back.
    pub fn send(&self, message: T) -> Result<(), mpsc::SendError<T>> {
        self.queue.send(message)?;
        self.wake.0.ping();
        Ok(())
    }
}

/// The end of the loop: one event for each message, and one when all senders are gone.
#[derive(Debug)]
pub struct Channel<T> {
    queue: mpsc::Receiver<T>,
    wake: PingSource,
}

impl<T> Channel<T> {
    /// What has come already, for whoever has no loop.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.queue.try_recv()
    }
}

/// A new channel. It needs a descriptor: `EMFILE` where there is none.
pub fn channel<T>() -> io::Result<(Sender<T>, Channel<T>)> {
    let (wake, woken) = make_ping()?;
    let (sender, receiver) = mpsc::channel();
    Ok((Sender { queue: sender, wake: WakeOnDrop(wake) }, Channel { queue: receiver, wake: woken }))
}

impl<T> EventSource for Channel<T> {
    type Event = Event<T>;
    type Metadata = ();
    type Ret = ();
    type Error = PingError;

    fn process_events<F>(
        &mut self,
        readiness: Readiness,
        token: Token,
        mut callback: F,
    ) -> Result<PostAction, PingError>
    where
        F: FnMut(Event<T>, &mut ()),
    {
        let mut closed = false;
        let queue = &self.queue;
        let action = self.wake.process_events(readiness, token, |(), ()| {
            loop {
                match queue.try_recv() {
                    Ok(message) => callback(Event::Msg(message), &mut ()),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => {
                        closed = true;
                        callback(Event::Closed, &mut ());
                        break;
                    }
                }
            }
        })?;
        Ok(if closed { PostAction::Remove } else { action })
    }

    fn register(&mut self, poll: &mut Poll, tokens: &mut TokenFactory) -> calloop::Result<()> {
        self.wake.register(poll, tokens)
    }

    fn reregister(&mut self, poll: &mut Poll, tokens: &mut TokenFactory) -> calloop::Result<()> {
        self.wake.reregister(poll, tokens)
    }

    fn unregister(&mut self, poll: &mut Poll) -> calloop::Result<()> {
        self.wake.unregister(poll)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use calloop::EventLoop;

    use super::*;

    #[test]
    fn everything_arrives_in_order_and_then_the_end() {
        let (sender, channel) = channel().expect("descriptors are left");
        let mut event_loop: EventLoop<'_, (Vec<u32>, bool)> = EventLoop::try_new().expect("made");
        let take = |event, (): &mut (), seen: &mut (Vec<u32>, bool)| match event {
            Event::Msg(number) => seen.0.push(number),
            Event::Closed => seen.1 = true,
        };
        event_loop.handle().insert_source(channel, take).expect("inserted");
        let second = sender.clone();
        let sending = std::thread::spawn(move || (0..1000).try_for_each(|number| second.send(number)));
        let mut seen = (Vec::new(), false);
        while seen.0.len() < 1000 {
            event_loop.dispatch(Duration::from_secs(20), &mut seen).expect("dispatched");
        }
        sending.join().expect("no panic").expect("all were taken");
        assert!(seen.0.iter().copied().eq(0..1000) && !seen.1, "one sender is left");
        drop(sender);
        while !seen.1 {
            event_loop.dispatch(Duration::from_secs(20), &mut seen).expect("dispatched");
        }
    }

    #[test]
    fn nobody_to_send_to_gives_the_message_back() {
        let (sender, channel) = channel().expect("descriptors are left");
        drop(channel);
        assert_eq!(sender.send(7).expect_err("nobody").0, 7);
    }
}
