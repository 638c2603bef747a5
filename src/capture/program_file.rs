//! Whether the code in a program's file can make a userfaultfd.
//!
//! It can where one of these stands in it, which nothing else looks like:
//!
//! * the number of the call, 323, goes into `edi`, and close behind a call goes to the library's `syscall`,
//!   by the dynamic symbol that the linker resolves or by the few instructions that it is where it is linked
//!   in;
//! * the number goes into `eax`, and a `syscall` instruction is close behind;
//! * the address of the text "/dev/userfaultfd" goes into the first or second argument of a call.
//!
//! The number alone, or the text alone (in a list of devices, say), means nothing. What a program computes
//! the number by, an interpreter's script, and code that is made at run time are not seen.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use memchr::memmem;

/// userfaultfd(2), as it stands in an instruction.
const NUMBER: [u8; 4] = 323u32.to_le_bytes();
/// In two pieces: whole, it would be found in the file of this program, which may be a target, too.
const DEVICE: [&[u8]; 2] = [b"/dev/", b"userfaultfd"];

/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;
/// Bytes before and behind a place that are looked at with it.
const AROUND: usize = 64;
/// How far behind its number a call is.
const REACH: usize = 40;
/// How much of a function is looked at.
const FUNCTION: usize = 160;
/// The most parts of a file, and bytes of its tables, that are looked at: no linker makes more.
const PARTS: usize = 256;
const TABLE: u64 = 256 << 20;

/// Whether the file can. Nothing where it was too late to find out.
pub(super) fn makes_userfaultfd(file: &File, is_late: &dyn Fn() -> bool) -> io::Result<Option<bool>> {
    let program = Program { file, is_late, parts: parts(file)? };
    match program.search() {
        Ok(found) => Ok(Some(found)),
        Err(Stop::Late) => Ok(None),
        Err(Stop::Failed(error)) => Err(error),
    }
}

enum Stop {
    Late,
    Failed(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Failed(error)
    }
}

/// A part of the file and where it lies in memory.
#[derive(Debug, Clone, Copy)]
struct Part {
    kind: Kind,
    offset: u64,
    address: u64,
    length: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Data,
    /// The tables of the dynamic linker.
    Dynamic,
}

/// Where control goes.
enum Jump {
    To(u64),
    /// To the address that is kept here.
    By(u64),
}

struct Program<'a> {
    file: &'a File,
    is_late: &'a dyn Fn() -> bool,
    parts: Vec<Part>,
}

impl Program<'_> {
    fn search(&self) -> Result<bool, Stop> {
        let (mut jumps, mut devices) = (Vec::new(), Vec::new());
        let mut direct = false;
        let device = DEVICE.concat();
        let (number, device) = (memmem::Finder::new(&NUMBER), memmem::Finder::new(&device));
        for part in self.parts.iter().filter(|part| part.kind != Kind::Dynamic) {
            self.each_chunk(part, |address, before, chunk, behind| {
                devices
                    .extend(device.find_iter(behind).filter(|at| *at < chunk).map(|at| address + at as u64));
                if part.kind != Kind::Code || direct {
                    return;
                }
                for at in number.find_iter(behind).take_while(|at| *at < chunk) {
                    let next = behind.get(at + NUMBER.len()..).unwrap_or_default();
                    let near = next.get(..REACH.min(next.len())).unwrap_or_default();
                    let ahead: Vec<u8> = match at {
                        0..3 => [before, behind.get(..at).unwrap_or_default()].concat(),
                        _ => behind.get(at.saturating_sub(8)..at).unwrap_or_default().to_vec(),
                    };
                    match goes_into(&ahead, near) {
                        Some(Register::Rax) => direct |= memmem::find(near, &[0x0f, 0x05]).is_some(),
                        Some(Register::Rdi) => {
                            jumps.extend(self.first_jump(near, address + (at + NUMBER.len()) as u64));
                        }
                        None => {}
                    }
                }
            })?;
        }
        Ok(direct || self.reaches_syscall(&jumps)? || self.takes_address(&devices)?)
    }

    /// Goes through a part: the address of a chunk, some bytes before it, its length, and it with some bytes
    /// behind it.
    fn each_chunk(&self, part: &Part, mut look: impl FnMut(u64, &[u8], usize, &[u8])) -> Result<(), Stop> {
        let mut buffer = vec![0; CHUNK + AROUND];
        let mut before = Vec::new();
        let mut at = 0;
        while at < part.length {
            if (self.is_late)() {
                return Err(Stop::Late);
            }
            let wanted = (part.length - at).min(buffer.len() as u64) as usize;
            let Some(room) = buffer.get_mut(..wanted) else { break };
            let read = fill(self.file, room, part.offset.saturating_add(at))?;
            if read == 0 {
                break;
            }
            let chunk = read.min(CHUNK);
            let found = buffer.get(..read).unwrap_or_default();
            look(part.address.wrapping_add(at), &before, chunk, found);
            before = found.get(chunk.saturating_sub(8)..chunk).unwrap_or_default().to_vec();
            at += chunk as u64;
        }
        Ok(())
    }

    /// The first call in this code that goes to a place in the file. Others behind it have an argument of
    /// their own.
    fn first_jump(&self, code: &[u8], address: u64) -> Option<Jump> {
        jumps_in(code, address).find(|jump| match jump {
            Jump::To(address) => self.part(*address).is_some_and(|part| part.kind == Kind::Code),
            Jump::By(address) => self.part(*address).is_some(),
        })
    }

    /// Whether one of these goes to the library's `syscall`.
    fn reaches_syscall(&self, jumps: &[Jump]) -> Result<bool, Stop> {
        if jumps.is_empty() {
            return Ok(false);
        }
        let kept = self.kept_syscall()?;
        for jump in jumps {
            if (self.is_late)() {
                return Err(Stop::Late);
            }
            let reaches = match jump {
                Jump::By(at) => kept.contains(at),
                Jump::To(address) => self.leads_to_syscall(*address, &kept)?,
            };
            if reaches {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether what begins here is `syscall`, or goes on to it.
    fn leads_to_syscall(&self, address: u64, kept: &[u64]) -> io::Result<bool> {
        let Some(code) = self.read(address, FUNCTION)? else { return Ok(false) };
        let mut code = code.as_slice();
        let mut at = address;
        for prefix in [&[0xf3, 0x0f, 0x1e, 0xfa][..], &[0xf2]] {
            if let Some(behind) = code.strip_prefix(prefix) {
                (code, at) = (behind, at.wrapping_add(prefix.len() as u64));
            }
        }
        if let Some(Jump::By(slot)) = jumps_in(code.get(..6).unwrap_or_default(), at).next() {
            return Ok(kept.contains(&slot));
        }
        // Whatever library it is of, its first argument goes into rax before the instruction, and it returns
        // behind that.
        const RETURN: u8 = 0xc3;
        let code = code.split(|byte| *byte == RETURN).next().unwrap_or_default();
        let (moved, call) = (memmem::find(code, &[0x48, 0x89, 0xf8]), memmem::find(code, &[0x0f, 0x05]));
        Ok(moved.zip(call).is_some_and(|(moved, call)| moved < call))
    }

    /// Where the dynamic linker puts the address of `syscall`.
    fn kept_syscall(&self) -> Result<Vec<u64>, Stop> {
        const STRINGS: u64 = 5;
        const SYMBOLS: u64 = 6;
        const TABLES: [(u64, u64); 2] = [(7, 8), (23, 2)];
        let Some(dynamic) = self.parts.iter().find(|part| part.kind == Kind::Dynamic) else {
            return Ok(Vec::new());
        };
        let mut entries = vec![0; dynamic.length.min(64 << 10) as usize];
        let read = fill(self.file, &mut entries, dynamic.offset)?;
        let words = |bytes: &[u8]| -> Vec<u64> { bytes.chunks_exact(8).filter_map(word).collect() };
        let entries = words(entries.get(..read).unwrap_or_default());
        let value = |tag| entries.chunks_exact(2).find(|entry| entry[0] == tag).map(|entry| entry[1]);
        let (Some(strings), Some(symbols)) = (value(STRINGS), value(SYMBOLS)) else { return Ok(Vec::new()) };
        let mut kept = Vec::new();
        for (at, length) in TABLES.iter().filter_map(|(at, length)| value(*at).zip(value(*length))) {
            let Some(offset) = self.offset(at) else { continue };
            let table = Part { kind: Kind::Data, offset, address: at, length: length.min(TABLE) };
            // 24 bytes each; one that lies across two chunks is whole in what comes with the first.
            let mut symbols_of = Vec::new();
            self.each_chunk(&table, |address, _, chunk, bytes| {
                let skip = (24 - (address.wrapping_sub(at) % 24)) % 24;
                let mut from = skip as usize;
                while from < chunk {
                    if let Some([place, info, _]) =
                        bytes.get(from..from + 24).map(words).as_deref().and_then(|w| w.first_chunk())
                        && matches!(info & 0xffff_ffff, 6 | 7)
                    {
                        symbols_of.push((*place, info >> 32));
                    }
                    from += 24;
                }
            })?;
            for (place, symbol) in symbols_of {
                if self.is_named_syscall(symbols.wrapping_add(symbol.wrapping_mul(24)), strings)? {
                    kept.push(place);
                }
            }
        }
        Ok(kept)
    }

    fn is_named_syscall(&self, symbol: u64, strings: u64) -> io::Result<bool> {
        let Some(name) = self.read(symbol, 4)?.as_deref().and_then(|bytes| bytes.first_chunk().copied())
        else {
            return Ok(false);
        };
        let name = self.read(strings.wrapping_add(u32::from_le_bytes(name).into()), 8)?;
        Ok(name.as_deref() == Some(b"syscall\0"))
    }

    /// Whether code takes one of these addresses for an argument.
    fn takes_address(&self, addresses: &[u64]) -> Result<bool, Stop> {
        if addresses.is_empty() {
            return Ok(false);
        }
        let mut takes = false;
        for part in self.parts.iter().filter(|part| part.kind == Kind::Code) {
            self.each_chunk(part, |address, _, chunk, code| {
                for at in memchr::memchr_iter(0x8d, code).filter(|at| (1..chunk).contains(at)) {
                    let relative = code.get(at - 1).is_some_and(|byte| *byte == 0x48)
                        && code.get(at + 1).is_some_and(|byte| matches!(byte, 0x3d | 0x35));
                    let to = number(code, at + 2)
                        .map(|to| address.wrapping_add(at as u64 + 6).wrapping_add_signed(to.into()));
                    takes |= relative && to.is_some_and(|to| addresses.contains(&to));
                }
                for wanted in addresses.iter().filter_map(|wanted| u32::try_from(*wanted).ok()) {
                    let wanted = wanted.to_le_bytes();
                    let found = memmem::find_iter(code, &wanted);
                    takes |= found
                        .filter_map(|at| code.get(at.checked_sub(1)?))
                        .any(|op| matches!(op, 0xbf | 0xbe));
                }
            })?;
        }
        Ok(takes)
    }

    fn part(&self, address: u64) -> Option<&Part> {
        let holds = |part: &&Part| {
            part.kind != Kind::Dynamic && address.checked_sub(part.address).is_some_and(|at| at < part.length)
        };
        self.parts.iter().find(holds)
    }

    fn offset(&self, address: u64) -> Option<u64> {
        let part = self.part(address)?;
        part.offset.checked_add(address - part.address)
    }

    /// So many bytes from an address on, as far as the file has them.
    fn read(&self, address: u64, length: usize) -> io::Result<Option<Vec<u8>>> {
        let Some(offset) = self.offset(address) else { return Ok(None) };
        let mut bytes = vec![0; length];
        let read = fill(self.file, &mut bytes, offset)?;
        bytes.truncate(read);
        Ok(Some(bytes))
    }
}

/// The parts of an ELF file that are loaded; another file is taken for one part of code.
fn parts(file: &File) -> io::Result<Vec<Part>> {
    const LOADED: u32 = 1;
    const DYNAMIC: u32 = 2;
    const EXECUTABLE: u32 = 1;
    let mut header = [0; 64];
    let read = fill(file, &mut header, 0)?;
    if read < header.len() || !header.starts_with(b"\x7fELF\x02\x01") {
        let length = file.metadata()?.len();
        return Ok(vec![Part { kind: Kind::Code, offset: 0, address: 0, length }]);
    }
    let half = |at: usize| {
        header.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |b| u16::from_le_bytes(*b))
    };
    let table = header.get(32..).and_then(word).unwrap_or_default();
    let (size, count) = (usize::from(half(54)).max(56), usize::from(half(56)).min(PARTS));
    let mut headers = vec![0; size * count];
    fill(file, &mut headers, table)?;
    let part = |header: &[u8]| {
        let flag = |at: usize| Some(u32::from_le_bytes(*header.get(at..)?.first_chunk()?));
        let kind = match (flag(0)?, flag(4)? & EXECUTABLE) {
            (LOADED, 0) => Kind::Data,
            (LOADED, _) => Kind::Code,
            (DYNAMIC, _) => Kind::Dynamic,
            _ => return None,
        };
        let word = |at: usize| header.get(at..).and_then(word);
        Some(Part { kind, offset: word(8)?, address: word(16)?, length: word(32)? })
    };
    Ok(headers.chunks_exact(size).filter_map(part).collect())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Register {
    Rax,
    Rdi,
}

/// The register that a number goes into, by the code before and behind it.
fn goes_into(before: &[u8], behind: &[u8]) -> Option<Register> {
    // With a prefix it would be one of the other eight registers.
    let other = |length: usize| {
        before
            .len()
            .checked_sub(length + 1)
            .and_then(|at| before.get(at))
            .is_some_and(|byte| matches!(byte, 0x41 | 0x49))
    };
    match before {
        [.., 0x48, 0xc7, 0xc7] => Some(Register::Rdi),
        [.., 0x48, 0xc7, 0xc0] => Some(Register::Rax),
        [.., 0xbf] if !other(1) => Some(Register::Rdi),
        [.., 0xb8] if !other(1) => Some(Register::Rax),
        [.., 0x68] if behind.first() == Some(&0x5f) => Some(Register::Rdi),
        [.., 0x68] if behind.first() == Some(&0x58) => Some(Register::Rax),
        _ => None,
    }
}

/// Whatever could be a call or a jump in this code, which lies at this address.
fn jumps_in(code: &[u8], address: u64) -> impl Iterator<Item = Jump> {
    (0..code.len()).filter_map(move |at| {
        let to = |opcode: usize| {
            let next = address.wrapping_add((at + opcode + 4) as u64);
            number(code, at + opcode).map(|by| next.wrapping_add_signed(by.into()))
        };
        match code.get(at..)? {
            [0xe8 | 0xe9, ..] => to(1).map(Jump::To),
            [0xff, 0x15 | 0x25, ..] => to(2).map(Jump::By),
            _ => None,
        }
    })
}

fn number(code: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_le_bytes(*code.get(at..)?.first_chunk()?))
}

fn word(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.first_chunk()?))
}

/// Reads as much as there is.
fn fill(file: &File, mut bytes: &mut [u8], mut offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while !bytes.is_empty() {
        match file.read_at(bytes, offset) {
            Ok(0) => break,
            Ok(read) => {
                bytes = bytes.get_mut(read..).unwrap_or_default();
                (filled, offset) = (filled + read, offset.saturating_add(read as u64));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
