//! A client that can send anything: requests by their numbers, without a library that would know better.

use std::io::{ErrorKind, IoSlice, Read};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::Bench;

/// An argument of a request.
#[derive(Debug, Clone, Copy)]
pub enum Word<'a> {
    Number(u32),
    Signed(i32),
    Text(&'a str),
    /// Travels beside the bytes.
    File(BorrowedFd<'a>),
}

/// The error that a client is told before it is disconnected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub object: u32,
    pub code: u32,
    pub message: String,
}

/// Whom a client waits for.
pub trait Server {
    /// Lets it do something.
    fn turn(&mut self);

    /// Lets it do all that it was asked.
    fn settle(&mut self) {
        for _ in 0..8 {
            self.turn();
        }
    }
}

impl Server for Bench {
    fn turn(&mut self) {
        Bench::turn(self);
    }
}

/// A process of its own.
pub struct Elsewhere;

impl Server for Elsewhere {
    fn turn(&mut self) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub struct Bare {
    stream: UnixStream,
    next: u32,
    heard: Vec<u8>,
    events: Vec<(u32, u16, Vec<u8>)>,
    pub told: Option<Told>,
    pub ended: bool,
}

const DISPLAY: u32 = 1;
const REGISTRY: u32 = 2;

impl Bare {
    pub fn new(bench: &mut Bench) -> Self {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        bench.compositor.puppet().connect(theirs).expect("let in");
        Self::over(ours, bench)
    }

    /// One that came in by the socket.
    pub fn over(ours: UnixStream, bench: &mut impl Server) -> Self {
        ours.set_nonblocking(true).expect("set");
        let mut bare = Self {
            stream: ours,
            next: REGISTRY + 1,
            heard: Vec::new(),
            events: Vec::new(),
            told: None,
            ended: false,
        };
        bare.send(bench, DISPLAY, 1, &[Word::Number(REGISTRY)]);
        assert!(bare.round_trip(bench), "the registry");
        bare
    }

    pub fn id(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }

    /// Binds a global by the name of its interface.
    pub fn bind(&mut self, bench: &mut impl Server, interface: &str, version: u32) -> u32 {
        let name = self
            .events
            .iter()
            .filter(|(object, event, _)| (*object, *event) == (REGISTRY, 0))
            .find(|(_, _, bytes)| text(&bytes[4..]) == interface)
            .map(|(_, _, bytes)| number(bytes))
            .expect("the global");
        let id = self.id();
        let words = [Word::Number(name), Word::Text(interface), Word::Number(version), Word::Number(id)];
        self.send(bench, REGISTRY, 0, &words);
        id
    }

    /// Sends a request, or nothing when it was disconnected.
    pub fn send(&mut self, bench: &mut impl Server, object: u32, request: u16, words: &[Word<'_>]) {
        self.send_and(bench, object, request, words, true);
    }

    /// The same without reading anything of what it is told.
    pub fn send_deaf(&mut self, bench: &mut impl Server, object: u32, request: u16, words: &[Word<'_>]) {
        self.send_and(bench, object, request, words, false);
    }

    fn send_and(
        &mut self,
        bench: &mut impl Server,
        object: u32,
        request: u16,
        words: &[Word<'_>],
        listen: bool,
    ) {
        let message = message(object, request, words);
        let file = |word: &Word<'_>| if let Word::File(file) = word { Some(file.as_raw_fd()) } else { None };
        let files: Vec<RawFd> = words.iter().filter_map(file).collect();
        let mut sent = 0;
        while sent < message.len() && !self.ended {
            let rights = [ControlMessage::ScmRights(&files)];
            let control = if files.is_empty() || sent > 0 { &[][..] } else { &rights[..] };
            let bytes = [IoSlice::new(&message[sent..])];
            let flags = MsgFlags::MSG_NOSIGNAL;
            match sendmsg::<()>(self.stream.as_raw_fd(), &bytes, control, flags, None) {
                Ok(count) => sent += count,
                Err(nix::errno::Errno::EAGAIN) => {
                    bench.turn();
                    if listen {
                        self.read();
                    }
                }
                Err(_) => {
                    // What it was told last is on its way.
                    bench.settle();
                    self.read();
                    self.ended = true;
                }
            }
        }
    }

    /// From now on it sends these bytes, with this file each time, again and again as fast as it is read.
    pub fn flood(&mut self, bytes: Vec<u8>, file: Option<OwnedFd>) -> Flood {
        Flood::begin(self.stream.try_clone().expect("its socket"), bytes, file)
    }

    /// Until everything was answered. Returns whether it is connected still.
    pub fn round_trip(&mut self, bench: &mut impl Server) -> bool {
        let callback = self.id();
        self.send(bench, DISPLAY, 0, &[Word::Number(callback)]);
        for _ in 0..100_000 {
            self.read();
            if self.ended || self.count(callback, 0) > 0 {
                return !self.ended && self.told.is_none();
            }
            bench.turn();
        }
        panic!("no answer");
    }

    /// How often it has heard this event of this object.
    pub fn count(&self, object: u32, event: u16) -> usize {
        self.events.iter().filter(|(from, what, _)| (*from, *what) == (object, event)).count()
    }

    /// What the last such event said first.
    pub fn last(&self, object: u32, event: u16) -> Option<u32> {
        let mut events = self.events.iter().rev();
        events.find(|(from, what, _)| (*from, *what) == (object, event)).map(|(_, _, bytes)| number(bytes))
    }

    /// The text of the first such event.
    pub fn text(&self, object: u32, event: u16) -> Option<String> {
        let mut events = self.events.iter();
        events.find(|(from, what, _)| (*from, *what) == (object, event)).map(|(_, _, bytes)| text(bytes))
    }

    fn read(&mut self) {
        let mut bytes = [0; 1 << 16];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => self.ended = true,
                Ok(count) => {
                    self.heard.extend(&bytes[..count]);
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // Said once, when something that it sent was not read any more; what it was told last comes
                // after that.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => continue,
                Err(_) => self.ended = true,
            }
            break;
        }
        let mut at = 0;
        while self.heard.len() >= at + 8 {
            let word = number(&self.heard[at + 4..]);
            let length = (word >> 16) as usize;
            if self.heard.len() < at + length {
                break;
            }
            let (object, body) = (number(&self.heard[at..]), self.heard[at + 8..at + length].to_vec());
            if (object, word & 0xffff) == (DISPLAY, 0) {
                self.told =
                    Some(Told { object: number(&body), code: number(&body[4..]), message: text(&body[8..]) });
            }
            self.events.push((object, word as u16, body));
            at += length;
        }
        self.heard.drain(..at);
    }
}

/// The bytes of a request.
pub fn message(object: u32, request: u16, words: &[Word<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    for word in words {
        match word {
            Word::Number(number) => body.extend(number.to_ne_bytes()),
            Word::Signed(number) => body.extend(number.to_ne_bytes()),
            Word::Text(text) => {
                body.extend((text.len() as u32 + 1).to_ne_bytes());
                body.extend(text.as_bytes());
                body.resize((body.len() + 4) & !3, 0);
            }
            Word::File(_) => {}
        }
    }
    let mut message = object.to_ne_bytes().to_vec();
    message.extend((((body.len() as u32 + 8) << 16) | u32::from(request)).to_ne_bytes());
    message.extend(body);
    message
}

/// How long a flood goes on that nobody stems: longer than others wait, even on a busy machine.
const FLOOD: Duration = Duration::from_secs(60);

/// A client that asks without pause, and listens so little that it cannot be blamed for that.
pub struct Flood {
    stream: UnixStream,
    stop: Arc<AtomicBool>,
    writer: JoinHandle<bool>,
    reader: JoinHandle<()>,
}

impl Flood {
    fn begin(stream: UnixStream, bytes: Vec<u8>, file: Option<OwnedFd>) -> Self {
        stream.set_nonblocking(false).expect("set");
        let stop = Arc::new(AtomicBool::new(false));
        let mut reading = stream.try_clone().expect("its socket");
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 1 << 16];
            while reading.read(&mut bytes).is_ok_and(|count| count > 0) {}
        });
        let (writing, stopped) = (stream.try_clone().expect("its socket"), stop.clone());
        let writer = std::thread::spawn(move || {
            let begun = Instant::now();
            let files: Vec<RawFd> = file.iter().map(AsRawFd::as_raw_fd).collect();
            let rights = [ControlMessage::ScmRights(&files)];
            while !stopped.load(Ordering::Relaxed) {
                if begun.elapsed() > FLOOD {
                    return false;
                }
                let mut sent = 0;
                while sent < bytes.len() {
                    let control = if files.is_empty() || sent > 0 { &[][..] } else { &rights[..] };
                    let rest = [IoSlice::new(&bytes[sent..])];
                    match sendmsg::<()>(writing.as_raw_fd(), &rest, control, MsgFlags::MSG_NOSIGNAL, None) {
                        Ok(count) => sent += count,
                        Err(_) => return stopped.load(Ordering::Relaxed),
                    }
                }
            }
            true
        });
        Self { stream, stop, writer, reader }
    }

    /// Returns whether it went on until now.
    pub fn end(self) -> bool {
        self.stop.store(true, Ordering::Relaxed);
        let _ended = self.stream.shutdown(Shutdown::Both);
        self.reader.join().expect("the reader");
        self.writer.join().expect("the writer")
    }
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_ne_bytes(bytes[..4].try_into().expect("four bytes"))
}

fn text(bytes: &[u8]) -> String {
    let length = number(bytes) as usize;
    String::from_utf8_lossy(&bytes[4..3 + length]).into_owned()
}
