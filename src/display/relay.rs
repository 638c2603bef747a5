//! What lies between a client and the Wayland library: the client's socket on one side, a pair of sockets of
//! our own on the other.
//!
//! The library reads a client until nothing more comes, so that one which asks faster than it is answered is
//! read for ever. Here it gets no more than it is given. Bytes and descriptors are passed on in their order,
//! and not looked into.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// Descriptors of one message on a socket, by the kernel's own limit (`SCM_MAX_FD`).
const FILES: usize = 253;
/// Bytes of what a client is told that are carried at once.
const EVENTS: usize = 1 << 16;

/// What became of bytes that were to be carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carried {
    /// So many are on the other side.
    Bytes(usize),
    /// None are there.
    Nothing,
    /// The other side takes none at the moment.
    Blocked,
    /// There will be no more.
    Over,
}

/// A client's own socket, and our end of the library's.
#[derive(Debug)]
pub(crate) struct Relay {
    client: UnixStream,
    library: UnixStream,
    requests: Option<Parcel>,
    events: Option<Parcel>,
    /// It does not listen any more; what it has asked for before is answered all the same.
    deaf: bool,
}

/// What was read and not written yet.
#[derive(Debug)]
struct Parcel {
    bytes: Vec<u8>,
    files: Vec<OwnedFd>,
    written: usize,
}

impl Relay {
    /// For this client; returns the library's end, too.
    ///
    /// # Errors
    /// The kernel's, when there are no descriptors left.
    pub(crate) fn new(client: UnixStream) -> io::Result<(Self, UnixStream)> {
        let (library, theirs) = UnixStream::pair()?;
        Ok((Self { client, library, requests: None, events: None, deaf: false }, theirs))
    }

    pub(crate) fn client(&self) -> BorrowedFd<'_> {
        self.client.as_fd()
    }

    pub(crate) fn library(&self) -> BorrowedFd<'_> {
        self.library.as_fd()
    }

    /// It does not read what it is told.
    pub(crate) fn is_blocked(&self) -> bool {
        self.events.is_some()
    }

    /// Gives the library no more than this of what the client asks.
    pub(crate) fn carry_requests(&mut self, most: usize) -> Carried {
        let carried = carry(&self.client, &self.library, &mut self.requests, most);
        if carried == Carried::Over {
            // Which has the library let go of the client; if it has done so already, there is nothing to
            // shut.
            let _done = self.library.shutdown(Shutdown::Write);
        }
        carried
    }

    /// Tells the client what the library has for it. [`Carried::Over`] when the library has let go of it.
    pub(crate) fn carry_events(&mut self) -> Carried {
        loop {
            if self.deaf {
                self.events = None;
                match receive(&self.library, EVENTS) {
                    Ok(Some(parcel)) => return Carried::Bytes(parcel.bytes.len()),
                    Ok(None) => return Carried::Over,
                    Err(error) => return not_read(error),
                }
            }
            match carry(&self.library, &self.client, &mut self.events, EVENTS) {
                Carried::Over if self.events.take().is_some() => self.deaf = true,
                carried => return carried,
            }
        }
    }
}

/// Carries what is left of the last parcel, or the next one. A parcel that is left when all is over was
/// refused by the other side.
fn carry(from: &UnixStream, to: &UnixStream, left: &mut Option<Parcel>, most: usize) -> Carried {
    let parcel = match left.take() {
        Some(parcel) => parcel,
        None => match receive(from, most) {
            Ok(Some(parcel)) => parcel,
            Ok(None) => return Carried::Over,
            Err(error) => return not_read(error),
        },
    };
    let parcel = left.insert(parcel);
    let before = parcel.written;
    while parcel.written < parcel.bytes.len() {
        match send(to, parcel) {
            Ok(()) => {}
            // The last three: too many descriptors are on their way, or the kernel has no memory for it.
            Err(Errno::AGAIN | Errno::TOOMANYREFS | Errno::NOBUFS | Errno::NOMEM) => {
                let written = parcel.written - before;
                return if written > 0 { Carried::Bytes(written) } else { Carried::Blocked };
            }
            Err(_) => return Carried::Over,
        }
    }
    let written = parcel.written - before;
    *left = None;
    Carried::Bytes(written)
}

fn not_read(error: Errno) -> Carried {
    if error == Errno::AGAIN { Carried::Nothing } else { Carried::Over }
}

/// The kernel gives the descriptors of one message at a time, so they stay at their place among the bytes.
fn receive(from: &UnixStream, most: usize) -> Result<Option<Parcel>, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES))];
    let mut bytes = vec![0; most];
    loop {
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        match recvmsg(from, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags) {
            Ok(message) if message.bytes == 0 => return Ok(None),
            Ok(message) => {
                let files = control
                    .drain()
                    .filter_map(|message| match message {
                        RecvAncillaryMessage::ScmRights(files) => Some(files),
                        _ => None,
                    })
                    .flatten()
                    .collect();
                bytes.truncate(message.bytes);
                return Ok(Some(Parcel { bytes, files, written: 0 }));
            }
            // Said once, when something that we sent was not read any more; what the other side sent before
            // comes after that.
            Err(Errno::INTR | Errno::CONNRESET) => {}
            Err(error) => return Err(error),
        }
    }
}

fn send(to: &UnixStream, parcel: &mut Parcel) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files: Vec<BorrowedFd<'_>> = parcel.files.iter().map(AsFd::as_fd).collect();
    if !files.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&files));
    }
    let rest = [IoSlice::new(&parcel.bytes[parcel.written..])];
    match sendmsg(to, &rest, &mut control, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Ok(written) => {
            parcel.written += written;
            // They were with the first byte.
            parcel.files.clear();
            Ok(())
        }
        Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;

    use nix::sys::socket::{ControlMessage, MsgFlags};

    use super::*;
    use crate::display::foreign_memory::in_memory;

    fn relay() -> (UnixStream, Relay, UnixStream) {
        let (client, ours) = UnixStream::pair().expect("a pair of sockets");
        let (relay, library) = Relay::new(ours).expect("a relay");
        (client, relay, library)
    }

    fn read(from: &mut UnixStream, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        from.read_exact(&mut bytes).expect("read");
        bytes
    }

    #[test]
    fn no_more_is_carried_than_is_asked_for() {
        let (mut client, mut relay, mut library) = relay();
        client.write_all(b"abcdefgh").expect("written");
        assert_eq!(relay.carry_requests(5), Carried::Bytes(5));
        assert_eq!(relay.carry_requests(5), Carried::Bytes(3));
        assert_eq!(relay.carry_requests(5), Carried::Nothing);
        assert_eq!(read(&mut library, 8), b"abcdefgh");
        library.write_all(b"told").expect("written");
        assert_eq!(relay.carry_events(), Carried::Bytes(4));
        assert_eq!(relay.carry_events(), Carried::Nothing);
        assert_eq!(read(&mut client, 4), b"told");
    }

    /// A descriptor may come before its bytes, as on any socket, and never after them.
    #[test]
    fn descriptors_keep_their_order_and_are_there_with_their_bytes() {
        let (client, mut relay, library) = relay();
        let texts = ["one", "two", "six"];
        for text in texts {
            let file = in_memory("test", text.as_bytes()).expect("a memfd");
            let files = [file.as_raw_fd()];
            nix::sys::socket::sendmsg::<()>(
                client.as_raw_fd(),
                &[IoSlice::new(text.as_bytes())],
                &[ControlMessage::ScmRights(&files)],
                MsgFlags::empty(),
                None,
            )
            .expect("sent");
        }
        while relay.carry_requests(2) != Carried::Nothing {}
        let (mut bytes, mut files) = (Vec::new(), Vec::new());
        while bytes.len() < texts.concat().len() {
            let parcel = receive(&library, 64).expect("read").expect("there");
            bytes.extend(parcel.bytes);
            files.extend(parcel.files);
            assert!(files.len() >= bytes.len().div_ceil(3), "{} with {} bytes", files.len(), bytes.len());
        }
        assert_eq!(bytes, texts.concat().as_bytes());
        let content = |file: &OwnedFd| {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            std::fs::read_to_string(path).expect("read")
        };
        assert_eq!(files.iter().map(content).collect::<Vec<_>>(), texts);
    }

    #[test]
    fn who_does_not_read_is_waited_for_without_losing_a_byte() {
        let (mut client, mut relay, mut library) = relay();
        library.set_nonblocking(true).expect("set");
        let words: Vec<u8> = (0..4 << 20).map(|at: u32| (at % 251) as u8).collect();
        let (mut written, mut heard) = (0, Vec::new());
        while heard.len() < words.len() {
            while let Ok(count) = library.write(&words[written..])
                && count > 0
            {
                written += count;
            }
            while let Carried::Bytes(_) = relay.carry_events() {}
            heard.extend(read(&mut client, (words.len() - heard.len()).min(1000)));
        }
        assert!(heard == words);
    }

    #[test]
    fn the_last_words_of_both_sides_arrive() {
        let (mut client, mut relay, mut library) = relay();
        client.write_all(b"bye").expect("written");
        drop(client);
        library.write_all(b"too late").expect("written");
        assert_eq!(relay.carry_events(), Carried::Nothing, "nobody hears it");
        assert_eq!(relay.carry_requests(100), Carried::Bytes(3));
        assert_eq!(relay.carry_requests(100), Carried::Over);
        let mut last = String::new();
        library.read_to_string(&mut last).expect("read to the end");
        assert_eq!(last, "bye");
        drop(library);
        assert_eq!(relay.carry_events(), Carried::Over);

        // The library has said why, and has let go of a client that goes on asking.
        let (mut client, mut relay, mut library) = self::relay();
        client.write_all(b"more").expect("written");
        library.write_all(b"error").expect("written");
        drop(library);
        assert_eq!(relay.carry_events(), Carried::Bytes(5));
        assert_eq!(relay.carry_events(), Carried::Over);
        drop(relay);
        assert_eq!(read(&mut client, 5), b"error");
    }
}
