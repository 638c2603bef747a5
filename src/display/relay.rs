//! Between a client's socket and the Wayland library stands this: it passes on what a client sends a piece at a time, one in a turn
//! of the loop. The library itself reads until nothing is left, and a client that always has more to say would be the only one that
//! is ever listened to.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use calloop::generic::Generic;
use calloop::{Interest, LoopHandle, Mode, PostAction, RegistrationToken};
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

use super::Compositor;

/// Bytes of one piece, which is also the longest message. The shortest request has eight.
const PIECE: usize = 4096;
/// Descriptors that travel with a piece, as many as libwayland sends at once.
const DESCRIPTORS: usize = 28;

/// What one end was read and the other has not taken yet.
#[derive(Debug, Default)]
struct Piece {
    bytes: Vec<u8>,
    files: Vec<OwnedFd>,
}

/// What became of passing on a piece.
#[derive(Debug, PartialEq, Eq)]
enum Passed {
    /// All there was, up to one piece.
    All,
    /// The other end takes no more at the moment.
    Blocked,
    /// One of the ends is gone, and all that it had sent was passed on.
    Ended,
}

/// One direction.
struct Way {
    from: Rc<UnixStream>,
    to: Rc<UnixStream>,
    piece: Piece,
}

impl Way {
    fn pass(&mut self) -> Passed {
        if self.piece.bytes.is_empty() {
            match read(&self.from) {
                Ok(piece) if piece.bytes.is_empty() => return Passed::Ended,
                Ok(piece) => self.piece = piece,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Passed::All,
                Err(_) => return Passed::Ended,
            }
        }
        match write(&self.to, &mut self.piece) {
            Ok(()) => Passed::All,
            Err(error) if error.kind() == ErrorKind::WouldBlock => Passed::Blocked,
            Err(_) => Passed::Ended,
        }
    }

    /// Nothing more comes or goes on this way. Both are refused when they are gone already.
    fn end(&self, how: Shutdown) {
        // Whoever goes on writing is told, and does not wait for ever.
        let _gone = self.from.shutdown(Shutdown::Read);
        let _gone = self.to.shutdown(how);
    }
}

/// Reads up to one piece; an empty one is the end.
#[allow(unsafe_code)]
fn read(from: &UnixStream) -> io::Result<Piece> {
    let mut bytes = vec![0; PIECE];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; DESCRIPTORS]);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let received = match recvmsg::<()>(from.as_raw_fd(), &mut parts, Some(&mut space), flags) {
        // Said once, when the other end has closed and not read everything; what it wrote last comes after that.
        Err(Errno::ECONNRESET) => return read(from),
        received => received?,
    };
    let mut files = Vec::new();
    for message in received.cmsgs().into_iter().flatten() {
        if let ControlMessageOwned::ScmRights(descriptors) = message {
            // SAFETY: the kernel has just made these descriptors for us, and nobody else knows of them.
            files.extend(descriptors.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    let count = received.bytes;
    bytes.truncate(count);
    Ok(Piece { bytes, files })
}

/// Writes what it can of a piece, and takes that off it.
fn write(to: &UnixStream, piece: &mut Piece) -> io::Result<()> {
    while !piece.bytes.is_empty() {
        let files: Vec<_> = piece.files.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&files)];
        let control = if files.is_empty() { &[][..] } else { &rights[..] };
        let parts = [IoSlice::new(&piece.bytes)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        match sendmsg::<()>(to.as_raw_fd(), &parts, control, flags, None) {
            Ok(count) => {
                piece.bytes.drain(..count);
                piece.files.clear();
            }
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Puts a relay in front of this client. Returns the end for the Wayland library.
///
/// # Errors
/// The kernel's, when there are no descriptors left.
pub(crate) fn relay(handle: &LoopHandle<'static, Compositor>, client: UnixStream) -> io::Result<UnixStream> {
    let (inner, library) = UnixStream::pair()?;
    let (client, inner) = (Rc::new(client), Rc::new(inner));
    let requests = Way { from: client.clone(), to: inner.clone(), piece: Piece::default() };
    let events = Way { from: inner, to: client, piece: Piece::default() };
    let token = watch(handle, requests, Shutdown::Write)?;
    if let Err(error) = watch(handle, events, Shutdown::Both) {
        handle.remove(token);
        return Err(error);
    }
    Ok(library)
}

/// Passes on what comes on this way. At its end its far socket is shut down so far, by which the other way hears of it.
fn watch(
    handle: &LoopHandle<'static, Compositor>,
    way: Way,
    at_end: Shutdown,
) -> io::Result<RegistrationToken> {
    let source = Generic::new(way.from.clone(), Interest::READ, Mode::Level);
    let way = Rc::new(RefCell::new(way));
    let own = Rc::new(Cell::new(None));
    let (inner, token) = (handle.clone(), own.clone());
    let watched = handle.insert_source(source, move |_, _, _: &mut Compositor| {
        let passed = way.borrow_mut().pass();
        if passed == Passed::Blocked && resume_when_taken(&inner, &way, at_end, &token).is_ok() {
            return Ok(PostAction::Disable);
        }
        if passed == Passed::All {
            return Ok(PostAction::Continue);
        }
        way.borrow().end(at_end);
        Ok(PostAction::Remove)
    });
    let watched = watched.map_err(|error| io::Error::other(error.to_string()))?;
    own.set(Some(watched));
    Ok(watched)
}

/// The far socket is full: nothing more is read before it takes what was read already.
fn resume_when_taken(
    handle: &LoopHandle<'static, Compositor>,
    way: &Rc<RefCell<Way>>,
    at_end: Shutdown,
    token: &Rc<Cell<Option<RegistrationToken>>>,
) -> io::Result<()> {
    // Registered with the loop once already, for the other way.
    let source = Generic::new(way.borrow().to.try_clone()?, Interest::WRITE, Mode::Level);
    let (way, token, inner) = (way.clone(), token.clone(), handle.clone());
    let watched = handle.insert_source(source, move |_, _, _: &mut Compositor| {
        let passed = way.borrow_mut().pass();
        let Some(reader) = token.get() else { return Ok(PostAction::Remove) };
        match passed {
            Passed::Blocked => return Ok(PostAction::Continue),
            Passed::All if inner.enable(&reader).is_ok() => {}
            Passed::All | Passed::Ended => {
                way.borrow().end(at_end);
                inner.remove(reader);
            }
        }
        Ok(PostAction::Remove)
    });
    watched.map(drop).map_err(|error| io::Error::other(error.to_string()))
}
