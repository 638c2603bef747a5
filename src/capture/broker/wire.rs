//! What a client and the broker say to each other: one typed message a packet, JSON, of bounded length, with
//! descriptors.
//!
//! The socket keeps packets apart (`SOCK_SEQPACKET`, unix(7)), so there is nothing to frame. What is too
//! long, cut off, of another shape, or carries descriptors that nobody asked for is refused whole, and its
//! descriptors are closed.

#![allow(unsafe_code)]

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::GlassRamError;
use crate::capture::programs::ProgramsRead;

/// The longest message, bytes.
pub(super) const MAX_MESSAGE: usize = 64 << 10;
/// The most processes that one request may ask about.
pub(super) const MAX_PIDS: usize = 1024;
/// The most descriptors of one message. The kernel takes 253 (SCM_MAX_FD, unix(7)).
pub(super) const MAX_FDS: usize = 240;

/// What a client asks. With each request about one process comes, where the kernel lets the client have it,
/// what shows that it may attach to that process itself (`proof`), as the last descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Request {
    /// Attach to this process: [`Answer::Attached`].
    Attach {
        /// Its number.
        pid: u32,
        /// Even where a call of it ends early or late by that.
        #[serde(default)]
        interrupt_calls: bool,
    },
    /// Would you attach to these processes? [`Answer::MayWatch`]. Nothing is touched.
    MayWatch {
        /// Their numbers, at most [`MAX_PIDS`].
        pids: Vec<u32>,
    },
    /// Open the page faults of each thread of the process whose pidfd comes along: [`Answer::Listening`].
    Listen,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Answer {
    /// The descriptors come along, in this order: its process, the socket of its keeper, page map and memory
    /// map. With none of them can memory of the process be read or written, nor a thread of it be made to
    /// wait.
    Attached(Attached),
    /// Events of perf come along, in the order of their processors. Where one message does not hold them all,
    /// the next one has more.
    Listening {
        /// How many there are of each processor.
        events: Vec<usize>,
    },
    /// One word for each process of the request, in its order: nothing where it may be watched. Where one
    /// message does not hold them all, the next one has more.
    MayWatch(Vec<Option<String>>),
    /// It is not done.
    Refused {
        /// Why.
        error: GlassRamError,
        /// Milliseconds after which it may be asked again, where that is the only reason.
        again_ms: Option<u64>,
    },
}

impl Answer {
    /// It is not done, and asking again will not change that.
    pub fn refused(error: impl Into<GlassRamError>) -> Self {
        Self::Refused { error: error.into(), again_ms: None }
    }
}

/// What is known of an attached process besides its descriptors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::capture) struct Attached {
    pub pid: u32,
    pub comm: String,
    pub page_size: u64,
    pub stopped_thread: u32,
    pub stopped_ns: u64,
    pub requested_ns: u64,
    pub repeated_call: bool,
    pub user_mode_only: bool,
    pub total_ns: u64,
    pub programs: ProgramsRead,
}

/// Why a message was not understood or not sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum WireError {
    #[error("the message is longer than {MAX_MESSAGE} bytes")]
    TooLong,
    #[error("the message has more descriptors than it may")]
    TooManyDescriptors,
    #[error("the message is not of this protocol: {0}")]
    Nonsense(String),
    #[error("the other end does nothing for too long")]
    NotTaken,
    #[error("the socket failed: {0}")]
    Socket(Errno),
}

/// Sends one message. Where the other end does not take what it was sent before, it is waited for no longer
/// than `patience`, if there is a limit: [`WireError::NotTaken`].
pub(super) fn send(
    socket: BorrowedFd<'_>,
    message: &impl Serialize,
    fds: &[BorrowedFd<'_>],
    patience: Option<Duration>,
) -> Result<(), WireError> {
    let bytes = serde_json::to_vec(message).map_err(|error| WireError::Nonsense(error.to_string()))?;
    if bytes.len() > MAX_MESSAGE {
        return Err(WireError::TooLong);
    }
    let raw: Vec<i32> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let control: &[ControlMessage<'_>] =
        if raw.is_empty() { &[] } else { &[ControlMessage::ScmRights(&raw)] };
    let until = patience.map(|patience| Instant::now() + patience);
    loop {
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        match sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&bytes)], control, flags, None) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => wait(socket, PollFlags::POLLOUT, until)?,
            Err(errno) => return Err(WireError::Socket(errno)),
        }
    }
}

/// Waits until the socket can be written to, or read from.
pub(super) fn wait(
    socket: BorrowedFd<'_>,
    events: PollFlags,
    until: Option<Instant>,
) -> Result<(), WireError> {
    loop {
        let timeout = match until.map(|until| until.saturating_duration_since(Instant::now())) {
            None => PollTimeout::NONE,
            Some(Duration::ZERO) => return Err(WireError::NotTaken),
            // Rounded up: a wait of no time would be none.
            Some(left) => PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX),
        };
        match poll(&mut [PollFd::new(socket, events)], timeout) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(()),
            Err(errno) => return Err(WireError::Socket(errno)),
        }
    }
}

/// Receives one message with at most `most_fds` descriptors; nothing when the other end has closed.
pub(super) fn receive<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
    most_fds: usize,
) -> Result<Option<(T, Vec<OwnedFd>)>, WireError> {
    let mut bytes = vec![0; MAX_MESSAGE + 1];
    // Room for more than is allowed, so that what is too much is seen, and closed.
    let mut control = cmsg_space!([i32; 253]);
    let (length, cut, fds) = loop {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC) {
            Ok(message) => {
                let mut fds = Vec::new();
                for control in message.cmsgs().map_err(WireError::Socket)? {
                    if let ControlMessageOwned::ScmRights(received) = control {
                        // SAFETY: the kernel has just put these descriptors into our table, for us alone.
                        fds.extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
                    }
                }
                let cut = message.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
                break (message.bytes, cut, fds);
            }
            // An end that was closed before it had read everything is told once, before what it sent last.
            Err(Errno::EINTR | Errno::ECONNRESET) => {}
            Err(errno) => return Err(WireError::Socket(errno)),
        }
    };
    if length == 0 {
        return Ok(None);
    }
    if cut || length > MAX_MESSAGE {
        return Err(WireError::TooLong);
    }
    if fds.len() > most_fds {
        return Err(WireError::TooManyDescriptors);
    }
    let bytes = bytes.get(..length).unwrap_or_default();
    let message = serde_json::from_slice(bytes).map_err(|error| WireError::Nonsense(error.to_string()))?;
    Ok(Some((message, fds)))
}

/// Reads `bytes` as if they were a client's request, and the broker's answer.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(bytes: &[u8]) {
    use std::os::fd::AsFd as _;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    let bytes = &bytes[..bytes.len().min(MAX_MESSAGE + 2)];
    let pair = || socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC);
    let (near, far) = pair().expect("a pair");
    for _ in 0..2 {
        nix::unistd::write(&near, bytes).expect("it fits");
    }
    if let Ok(Some((request, _))) = receive::<Request>(far.as_fd(), 0) {
        send(near.as_fd(), &request, &[], None).expect("what was understood can be said");
    }
    if let Ok(Some((answer, _))) = receive::<Answer>(far.as_fd(), MAX_FDS) {
        send(near.as_fd(), &answer, &[], None).expect("what was understood can be said");
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use proptest::prelude::*;

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).expect("a pair")
    }

    fn open_descriptors() -> usize {
        std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
    }

    #[test]
    fn a_message_arrives_with_its_descriptors() {
        let (a, b) = pair();
        let file = std::fs::File::open("/proc/self/status").expect("opened");
        send(a.as_fd(), &Request::Attach { pid: 7, interrupt_calls: false }, &[file.as_fd()], None)
            .expect("sent");
        let (request, fds) = receive::<Request>(b.as_fd(), 1).expect("received").expect("open");
        assert_eq!((request, fds.len()), (Request::Attach { pid: 7, interrupt_calls: false }, 1));
        drop(a);
        assert_eq!(receive::<Request>(b.as_fd(), 0).expect("received").map(|_| ()), None);
    }

    #[test]
    fn what_nobody_asked_for_is_refused() {
        let (a, b) = pair();
        let refused = |bytes: &[u8]| {
            nix::unistd::write(&a, bytes).expect("sent");
            receive::<Request>(b.as_fd(), 0).map(|_| ()).expect_err("refused")
        };
        assert!(matches!(refused(b"\"shell\""), WireError::Nonsense(_)));
        assert!(matches!(refused(b"{\"attach\":{\"pid\":-1}}"), WireError::Nonsense(_)));
        assert!(matches!(refused(b"{\"attach\":{\"pid\":1,\"uid\":0}}"), WireError::Nonsense(_)));
        assert_eq!(refused(&vec![b'['; MAX_MESSAGE + 2]), WireError::TooLong);
        let file = std::fs::File::open("/proc/self/status").expect("opened");
        send(a.as_fd(), &Request::Attach { pid: 7, interrupt_calls: false }, &[file.as_fd(); 3], None)
            .expect("sent");
        assert_eq!(
            receive::<Request>(b.as_fd(), 2).map(|_| ()).expect_err("refused"),
            WireError::TooManyDescriptors
        );
    }

    #[test]
    fn the_last_word_is_heard_after_the_door_is_closed() {
        let (a, b) = pair();
        send(a.as_fd(), &Request::Attach { pid: 7, interrupt_calls: false }, &[], None).expect("sent");
        send(b.as_fd(), &Request::Attach { pid: 8, interrupt_calls: false }, &[], None).expect("sent");
        drop(b);
        let heard = || receive::<Request>(a.as_fd(), 0).expect("received").map(|(request, _)| request);
        assert_eq!((heard(), heard()), (Some(Request::Attach { pid: 8, interrupt_calls: false }), None));
    }

    #[test]
    fn who_reads_nothing_is_not_waited_for() {
        let (a, _b) = pair();
        let much = Answer::MayWatch(vec![Some("no".repeat(1000)); 20]);
        let mut sent = (0..1000).map(|_| send(a.as_fd(), &much, &[], Some(Duration::from_millis(20))));
        assert_eq!(sent.find(Result::is_err), Some(Err(WireError::NotTaken)));
    }

    proptest! {
        #[test]
        fn whatever_bytes_come_nothing_panics(bytes in prop::collection::vec(any::<u8>(), 1..2000)) {
            let (a, b) = pair();
            nix::unistd::write(&a, &bytes).expect("sent");
            let _ = receive::<Request>(b.as_fd(), 0);
            let (a, b) = pair();
            nix::unistd::write(&a, &bytes).expect("sent");
            let _ = receive::<Answer>(b.as_fd(), MAX_FDS);
        }
    }

    /// Alone in its process under nextest, so the count is of this test only.
    #[test]
    fn refused_messages_leave_no_descriptor_open() {
        let (a, b) = pair();
        let file = std::fs::File::open("/proc/self/status").expect("opened");
        let before = open_descriptors();
        for _ in 0..50 {
            send(a.as_fd(), &Request::Attach { pid: 7, interrupt_calls: false }, &[file.as_fd(); 20], None)
                .expect("sent");
            assert!(receive::<Request>(b.as_fd(), 0).is_err());
        }
        assert_eq!(open_descriptors(), before);
    }
}
