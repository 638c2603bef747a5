//! The frame around every record: kind, length, checksum.

use super::error::Damaged;

/// The first bytes of every file, as PNG has them: not text, not mangled by a transfer as text. The last one is the version.
pub(super) const MAGIC: [u8; 8] = [0x89, b'M', b'G', b'R', b'\r', b'\n', 0x1a, VERSION];
/// Changes when a reader of today would misread what is written. Sections of a window come without.
pub(super) const VERSION: u8 = 1;
/// A kind (1 byte), three bytes of zero, the content's length, and the CRC-32 of all these and of the content; little-endian.
pub(super) const FRAME: usize = 12;
/// The most that a window may take before compression, bytes: about ten million written ranges.
pub const MAX_WINDOW: usize = 32 << 20;
/// The most that a record may take; compression makes nothing much larger than it was.
pub(super) const MAX_RECORD: usize = MAX_WINDOW + (1 << 20);

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Who was recorded.
    Header = 1,
    /// A new zstd stream begins.
    Chunk = 2,
    /// When the window ended, in nanoseconds (8 bytes), and a piece of the stream: the window.
    Data = 3,
    /// Nothing follows, for a reason.
    End = 4,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Kind::Header, Kind::Chunk, Kind::Data, Kind::End].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// A record as it is in the file. The content is what `parts` are together.
pub(super) fn frame(kind: Kind, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut bytes = Vec::with_capacity(FRAME + length);
    bytes.extend_from_slice(&[kind as u8, 0, 0, 0]);
    bytes.extend_from_slice(&(length as u32).to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    let sum = checksum(&bytes[..8], &bytes[FRAME..]);
    bytes[8..FRAME].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// What the first bytes of a record say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub kind: Kind,
    pub length: usize,
    head: [u8; 8],
    sum: u32,
}

impl Frame {
    pub fn parse(bytes: &[u8; FRAME]) -> Result<Self, Damaged> {
        let [kind, a, b, c, l0, l1, l2, l3, s0, s1, s2, s3] = *bytes;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let kind = Kind::from_byte(kind).ok_or(Damaged("a record is of no known kind"))?;
        if length > MAX_RECORD {
            return Err(Damaged("a record is longer than any can be"));
        }
        Ok(Self {
            kind,
            length,
            head: [kind as u8, a, b, c, l0, l1, l2, l3],
            sum: u32::from_le_bytes([s0, s1, s2, s3]),
        })
    }

    pub fn check(&self, content: &[u8]) -> Result<(), Damaged> {
        // A fuzzer would never come past it.
        if cfg!(fuzzing) {
            return Ok(());
        }
        (checksum(&self.head, content) == self.sum).then_some(()).ok_or(Damaged("a checksum is wrong"))
    }
}

fn checksum(head: &[u8], content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(content);
    hasher.finalize()
}
