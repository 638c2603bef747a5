//! What goes through a control connection, without the connection: lines in, and lines that wait to go out.

use std::io::{ErrorKind, Write};

use crate::ipc::{MAX_LINE, MAX_UNREAD};

/// Bytes that have come in, until they are lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// Up to here there is no line end.
    searched: usize,
}

/// A client wrote more than [`MAX_LINE`] without a line end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Lines {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next line that is complete, without its end.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, TooLong> {
        let end = self.bytes[self.searched..].iter().position(|byte| *byte == b'\n');
        match end.map(|end| self.searched + end) {
            Some(end) if end <= MAX_LINE => {
                let mut line: Vec<u8> = self.bytes.drain(..=end).collect();
                line.pop();
                self.searched = 0;
                Ok(Some(line))
            }
            None if self.bytes.len() <= MAX_LINE => {
                self.searched = self.bytes.len();
                Ok(None)
            }
            _ => Err(TooLong),
        }
    }
}

/// Bytes that are still to be written.
#[derive(Debug, Default)]
pub(super) struct Outbox(Vec<u8>);

/// What writing came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Nothing is left.
    All,
    /// The client has to read first.
    Waiting,
    /// The client is gone, or does not read.
    Broken,
}

impl Outbox {
    /// Writes what the client takes now, and keeps the rest, up to a bound.
    pub(super) fn send(&mut self, line: &str, to: &mut impl Write) -> Written {
        // An answer may be longer than that by itself; what counts is that the one before was read.
        if self.0.len() >= MAX_UNREAD {
            return Written::Broken;
        }
        self.0.extend_from_slice(line.as_bytes());
        self.0.push(b'\n');
        self.flush(to)
    }

    pub(super) fn flush(&mut self, to: &mut impl Write) -> Written {
        let mut done = 0;
        let outcome = loop {
            match to.write(&self.0[done..]) {
                _ if done == self.0.len() => break Written::All,
                Ok(0) => break Written::Broken,
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break Written::Waiting,
                Err(_) => break Written::Broken,
            }
        };
        self.0.drain(..done);
        outcome
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Takes `bytes` as what comes in over a control connection, in pieces, and as what a session answers.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(bytes: &[u8]) {
    use crate::ipc::{Event, Reply, Request};

    let mut lines = Lines::default();
    for piece in bytes.chunks(97) {
        lines.push(piece);
        while let Ok(Some(line)) = lines.next() {
            assert!(line.len() <= MAX_LINE && !line.contains(&b'\n'));
            if let Ok(request) = serde_json::from_slice::<Request>(&line) {
                let again = serde_json::to_vec(&request).expect("what was understood can be said");
                assert_eq!(serde_json::from_slice::<Request>(&again).expect("our own words"), request);
            }
            let _ = serde_json::from_slice::<Reply>(&line);
            let _ = serde_json::from_slice::<Event>(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lines_are_the_same_however_they_arrive(text in prop::collection::vec(0..4u8, 0..200), cuts in prop::collection::vec(1..20usize, 1..60)) {
            let text: Vec<u8> = text.into_iter().map(|byte| if byte == 0 { b'\n' } else { b'a' + byte }).collect();
            let mut lines = Lines::default();
            let mut found = Vec::new();
            let mut rest = &text[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                lines.push(now);
                while let Ok(Some(line)) = lines.next() {
                    found.push(line);
                }
                rest = later;
            }
            let mut expected: Vec<Vec<u8>> = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            expected.pop();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_line_has_a_bound() {
        let mut lines = Lines::default();
        lines.push(&vec![b'x'; MAX_LINE]);
        assert_eq!(lines.next(), Ok(None));
        lines.push(b"\nrest");
        assert_eq!(lines.next(), Ok(Some(vec![b'x'; MAX_LINE])));
        lines.push(&vec![b'x'; MAX_LINE]);
        assert_eq!(lines.next(), Err(TooLong));
        let mut lines = Lines::default();
        lines.push(&vec![b'x'; MAX_LINE + 1]);
        lines.push(b"\n");
        assert_eq!(lines.next(), Err(TooLong));
    }

    /// Takes so many bytes, and then no more.
    struct Narrow(usize, Vec<u8>);

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let count = bytes.len().min(self.0);
            if count == 0 && !bytes.is_empty() {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.0 -= count;
            self.1.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_not_taken_waits_and_not_without_bound() {
        let mut to = Narrow(4, Vec::new());
        let mut outbox = Outbox::default();
        assert_eq!(outbox.send("abc", &mut to), Written::All);
        assert_eq!(outbox.send("def", &mut to), Written::Waiting);
        assert!(!outbox.is_empty());
        to.0 = 100;
        assert_eq!(outbox.flush(&mut to), Written::All);
        assert_eq!(to.1, b"abc\ndef\n");
        to.0 = 0;
        assert_eq!(outbox.send(&"x".repeat(2 * MAX_UNREAD), &mut to), Written::Waiting);
        assert_eq!(outbox.send("y", &mut to), Written::Broken);
    }
}
