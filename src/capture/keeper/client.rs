//! The way to a keeper.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, send, setsockopt, sockopt};
use nix::sys::time::TimeVal;

use super::wire::{
    ABSENT, FAILED, FINISH, HUGE, LET_GO, MAX_RANGES, MAX_WORDS, OWN, PRESENT, READY, RESTORED, STEPS,
    UNWATCH, WATCH,
};
use crate::capture::{CaptureError, PageRange};

/// How long an answer may take: the target's memory may be locked for a while, and the machine busy.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long is waited for huge pages; what takes longer, the keeper does alone.
const REBUILDING: Duration = Duration::from_millis(500);

/// The other end of a keeper's socket. Dropping it ends the watch: the keeper lets go and puts huge pages
/// together by itself.
#[derive(Debug)]
pub(in crate::capture) struct Keeper {
    socket: OwnedFd,
    /// The target's.
    pid: u32,
    /// The keeper's own, where it was started from here.
    process: Option<u32>,
    /// Whether huge pages are to be put together again.
    restores: bool,
}

impl Keeper {
    /// The keeper of a target, which somebody else has started.
    pub fn of(socket: OwnedFd, pid: u32) -> Self {
        let keeper = Self { socket, pid, process: None, restores: true };
        keeper.be_patient(PATIENCE);
        let _ = setsockopt(&keeper.socket, sockopt::SendTimeout, &time(PATIENCE));
        keeper
    }

    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub fn process(&self) -> Option<u32> {
        self.process
    }

    /// Whether huge pages that watching splits are put together again at the end.
    pub fn set_restoring(&mut self, restores: bool) {
        self.restores = restores;
    }

    /// Waits for its first word.
    pub(super) fn hear_of_it(&mut self) -> Result<(), CaptureError> {
        match self.receive()?.as_slice() {
            [READY, process] => self.process = u32::try_from(*process).ok(),
            [FAILED, step, errno] => {
                let step = STEPS.get(*step as usize).copied().unwrap_or("confining itself");
                return Err(CaptureError::KeeperFailed {
                    pid: self.pid,
                    step,
                    errno: Errno::from_raw(*errno as i32),
                });
            }
            _ => return Err(self.died()),
        }
        Ok(())
    }

    /// Puts ranges under watch: the kernel's answer to each.
    pub fn watch(&self, ranges: &[PageRange]) -> Result<Vec<Result<(), Errno>>, CaptureError> {
        self.ask(WATCH, ranges)
    }

    /// Lets go of ranges.
    pub fn unwatch(&self, ranges: &[PageRange]) -> Result<Vec<Result<(), Errno>>, CaptureError> {
        self.ask(UNWATCH, ranges)
    }

    /// Says which ranges are of huge pages. It is known from the moment this returns, whatever becomes of us.
    pub fn note_huge(&self, ranges: &[PageRange]) -> Result<(), CaptureError> {
        if !self.restores {
            return Ok(());
        }
        ranges.chunks(MAX_RANGES).try_for_each(|ranges| self.send(&request(HUGE, ranges)))
    }

    /// Whether there is a userfaultfd among the target's descriptors, and how many descriptors there are;
    /// nothing where that cannot be known.
    pub fn sees_userfaultfd(&self) -> Result<Option<(bool, u64)>, CaptureError> {
        let (mut from, mut seen) = (0, 0u64);
        loop {
            self.send(&[OWN, from])?;
            match self.receive()?.as_slice() {
                [OWN, PRESENT, _, here] => return Ok(Some((true, seen.saturating_add(*here)))),
                [OWN, ABSENT, next, here] => (from, seen) = (*next, seen.saturating_add(*here)),
                [OWN, ..] => return Ok(None),
                _ => return Err(self.died()),
            }
            if from == 0 {
                return Ok(Some((false, seen)));
            }
        }
    }

    /// Ends the watch. When this returns nothing is watched any more, and huge pages are whole again, unless
    /// that takes long: the bytes of them, where they are known.
    pub fn finish(&self) -> Result<Option<u64>, CaptureError> {
        self.send(&[FINISH])?;
        match self.receive()?.as_slice() {
            [LET_GO] => {}
            _ => return Err(self.died()),
        }
        self.be_patient(REBUILDING);
        Ok(match self.receive().as_deref() {
            Ok([RESTORED, bytes]) => Some(*bytes),
            _ => None,
        })
    }

    /// Whether it has ended.
    pub fn is_gone(&self) -> bool {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::empty())];
        matches!(poll(&mut fds, PollTimeout::ZERO), Ok(ready) if ready > 0)
    }

    pub fn died(&self) -> CaptureError {
        CaptureError::KeeperDied { pid: self.pid }
    }

    fn ask(&self, kind: u64, ranges: &[PageRange]) -> Result<Vec<Result<(), Errno>>, CaptureError> {
        let mut answers = Vec::with_capacity(ranges.len());
        for ranges in ranges.chunks(MAX_RANGES) {
            self.send(&request(kind, ranges))?;
            let answer = self.receive()?;
            match answer.split_first() {
                Some((said, errors)) if *said == kind && errors.len() == ranges.len() => {
                    answers.extend(errors.iter().map(|errno| match errno {
                        0 => Ok(()),
                        errno => Err(Errno::from_raw(*errno as i32)),
                    }));
                }
                _ => return Err(self.died()),
            }
        }
        Ok(answers)
    }

    fn be_patient(&self, limit: Duration) {
        let _ = setsockopt(&self.socket, sockopt::ReceiveTimeout, &time(limit));
    }

    fn send(&self, words: &[u64]) -> Result<(), CaptureError> {
        loop {
            match send(self.socket.as_raw_fd(), bytemuck::cast_slice(words), MsgFlags::MSG_NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(_) => return Err(self.died()),
            }
        }
    }

    fn receive(&self) -> Result<Vec<u64>, CaptureError> {
        let mut words = vec![0u64; MAX_WORDS];
        loop {
            match recv(self.socket.as_raw_fd(), bytemuck::cast_slice_mut(&mut words), MsgFlags::empty()) {
                Ok(0) => return Err(self.died()),
                Ok(length) => {
                    words.truncate(length / size_of::<u64>());
                    return Ok(words);
                }
                Err(Errno::EINTR) => {}
                Err(_) => return Err(self.died()),
            }
        }
    }
}

fn request(kind: u64, ranges: &[PageRange]) -> Vec<u64> {
    std::iter::once(kind).chain(ranges.iter().flat_map(|range| [range.start, range.end])).collect()
}

fn time(length: Duration) -> TimeVal {
    TimeVal::new(length.as_secs() as i64, i64::from(length.subsec_micros()))
}
