//! Whether the target has a userfaultfd of its own.
//!
//! The client may not list the descriptors of a target of another user, or has given that right up; the
//! keeper has it. It says yes or no, and of the address space that is watched only: of another program in its
//! place it says nothing.

use super::kernel::Kernel;
use super::memory::Memory;
use super::wire::{ABSENT, PRESENT, UNKNOWN};

/// What the kernel shows for one.
const USERFAULTFD: &[u8] = b"anon_inode:[userfaultfd]";

/// Looks at a part of the list, from this position on: the answer's words.
pub(super) fn look(memory: &mut Memory, kernel: &Kernel, from: u64) -> [u64; 3] {
    if !kernel.is_still_there(&mut memory.runs) {
        return [UNKNOWN, 0, 0];
    }
    let Ok(length) = kernel.list_descriptors(from, &mut memory.entries) else { return [UNKNOWN, 0, 0] };
    let (mut rest, mut next, mut seen) = (memory.entries.get(..length).unwrap_or_default(), 0, 0u64);
    while let Some((entry, behind)) = entry(rest) {
        (rest, next) = (behind, entry.next);
        if !entry.name.first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        seen = seen.wrapping_add(1);
        // One byte more than what is looked for: a longer one is another.
        let mut words = [0; USERFAULTFD.len() + 1];
        match kernel.read_descriptor(entry.name, &mut words) {
            Ok(length) if words.get(..length) == Some(USERFAULTFD) => return [PRESENT, 0, seen],
            // Another thing, or closed meanwhile.
            Ok(_) | Err(nix::libc::ENOENT) => {}
            Err(_) => return [UNKNOWN, 0, seen],
        }
    }
    [ABSENT, next, seen]
}

/// One line of the list.
struct Entry<'a> {
    /// Where the list goes on behind it.
    next: u64,
    /// With the zero behind it.
    name: &'a [u8],
}

/// The first line, and those behind it: `struct linux_dirent64` of getdents64(2).
fn entry(list: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    const NAME: usize = 19;
    let next = u64::from_ne_bytes(*list.get(8..)?.first_chunk()?);
    let length = usize::from(u16::from_ne_bytes(*list.get(16..)?.first_chunk()?));
    let (entry, behind) = list.split_at_checked(length)?;
    let name = entry.get(NAME..)?;
    let end = name.iter().position(|byte| *byte == 0)?;
    Some((Entry { next, name: name.get(..=end)? }, behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(next: u64, name: &str, length: u16) -> Vec<u8> {
        let mut line = 7u64.to_ne_bytes().to_vec();
        line.extend(next.to_ne_bytes());
        line.extend(length.to_ne_bytes());
        line.push(10);
        line.extend(name.as_bytes());
        line.resize(usize::from(length), 0);
        line
    }

    #[test]
    fn a_list_is_read_line_by_line_and_never_beyond_its_end() {
        let list = [line(1, ".", 24), line(5, "3", 24), line(9, "12345", 32)].concat();
        let mut rest = list.as_slice();
        let mut found = Vec::new();
        while let Some((entry, behind)) = entry(rest) {
            found.push((entry.next, entry.name.to_vec()));
            rest = behind;
        }
        assert_eq!(found, [(1, b".\0".to_vec()), (5, b"3\0".to_vec()), (9, b"12345\0".to_vec())]);
        for length in 0..list.len() {
            let mut rest = &list[..length];
            while let Some((_, behind)) = entry(rest) {
                rest = behind;
            }
        }
        assert!(entry(&line(1, "x", 19)).is_none(), "a name without its end");
        assert!(entry(&[0; 40]).is_none(), "a line of no length");
    }
}
