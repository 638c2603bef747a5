//! The table of a process' mappings, and which of them can be watched.

use std::fmt;

use procfs::FromBufRead;
use procfs::process::{MMPermissions, MemoryMap, MemoryMaps};

use super::PageRange;

/// One mapping of the target.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MemoryRegion {
    /// Start virtual address.
    pub start: u64,
    /// End virtual address, not part of the mapping.
    pub end: u64,
    /// Permissions as the kernel prints them, e.g. "rw-p".
    pub permissions: String,
    /// Offset in the file, 0 without one.
    pub offset: u64,
    /// Device of the file in hexadecimal, e.g. "fd:00".
    pub device: String,
    /// Inode of the file, 0 without one.
    pub inode: u64,
    /// The file, or the kernel's name in brackets such as `[heap]`; none for plain anonymous memory.
    pub pathname: Option<String>,
}

/// What a mapping is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RegionKind {
    /// The heap that brk(2) moves.
    Heap,
    /// The stack of the first thread.
    Stack,
    /// Private memory without a file: allocators, thread stacks, JIT code.
    Anonymous,
    /// A private mapping of a file: the writable data of programs and libraries.
    FilePrivate,
    /// Memory shared with others or with a file.
    Shared,
    /// Huge pages from a hugetlbfs pool: written 2 MiB or 1 GiB at a time as far as anyone can see.
    HugeTlb,
    /// The kernel's own pages and device memory, by its name; watched only where that is an ordinary file's.
    Special,
}

impl fmt::Display for RegionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            RegionKind::Heap => "heap",
            RegionKind::Stack => "stack",
            RegionKind::Anonymous => "anonymous",
            RegionKind::FilePrivate => "file-private",
            RegionKind::Shared => "shared",
            RegionKind::HugeTlb => "hugetlb",
            RegionKind::Special => "special",
        })
    }
}

impl MemoryRegion {
    /// Length in bytes.
    #[allow(clippy::len_without_is_empty)] // the kernel makes no empty mappings
    pub fn len(&self) -> u64 {
        self.range().len()
    }

    /// Length in pages.
    pub fn pages(&self, page_size: u64) -> u64 {
        self.range().pages(page_size)
    }

    /// Its addresses.
    pub fn range(&self) -> PageRange {
        PageRange::new(self.start, self.end)
    }

    /// Whether the process may write to it right now.
    pub fn is_writable(&self) -> bool {
        self.permissions.as_bytes().get(1) == Some(&b'w')
    }

    /// Whether the process may execute it.
    pub fn is_executable(&self) -> bool {
        self.permissions.as_bytes().get(2) == Some(&b'x')
    }

    /// Whether writes reach a file or other processes.
    pub fn is_shared(&self) -> bool {
        self.permissions.as_bytes().get(3) == Some(&b's')
    }

    /// Whether its writes can be followed: writable, and ordinary memory.
    pub fn is_watchable(&self) -> bool {
        self.is_writable() && self.kind() != RegionKind::Special
    }

    /// Whether it may be read right now.
    fn is_readable(&self) -> bool {
        self.permissions.as_bytes().first() == Some(&b'r')
    }

    /// Whether it is shared, but by nobody than the process that made it and its children: only they can have
    /// put anything into it.
    pub(super) fn is_own_shared(&self) -> bool {
        let name = self.pathname.as_deref().unwrap_or_default();
        self.is_shared() && (name == "/dev/zero (deleted)" || name.starts_with("[anon_shmem:"))
    }

    /// Whether this is private memory without a file.
    pub(super) fn is_anonymous(&self) -> bool {
        let kind = matches!(self.kind(), RegionKind::Anonymous | RegionKind::Heap | RegionKind::Stack);
        kind && self.inode == 0 && !self.is_shared()
    }

    /// Whether its writes are followed although it cannot be written to right now. A program that makes code
    /// gives itself the right to write it, writes, and takes the right away again within a moment (W^X),
    /// which the table of mappings hardly ever shows.
    pub(super) fn is_between_writes(&self) -> bool {
        let used = self.is_readable() || self.is_executable();
        used && !self.is_writable() && (self.is_anonymous() || self.is_own_shared())
    }

    /// Whether its name is one that devices and objects of the kernel have.
    pub(super) fn has_device_name(&self) -> bool {
        self.pathname.as_deref().is_some_and(is_device)
    }

    /// What the mapping is for, told from its name and permissions.
    pub fn kind(&self) -> RegionKind {
        let name = self.pathname.as_deref().unwrap_or_default();
        let of_a_path = || match name {
            _ if name.starts_with("/anon_hugepage") || name.starts_with("/dev/hugepages/") => {
                RegionKind::HugeTlb
            }
            _ if is_device(name) => RegionKind::Special,
            _ if self.is_shared() => RegionKind::Shared,
            _ => RegionKind::FilePrivate,
        };
        // A table of tens of thousands is asked more than once.
        match name.as_bytes().first() {
            None if self.is_shared() => RegionKind::Shared,
            None => RegionKind::Anonymous,
            Some(b'[') => match name {
                "[heap]" => RegionKind::Heap,
                "[stack]" => RegionKind::Stack,
                _ if name.starts_with("[anon_shmem:") => RegionKind::Shared,
                _ if name.starts_with("[anon:") || name.starts_with("[stack:") => RegionKind::Anonymous,
                // [vdso], [vvar], [vvar_vclock], [vsyscall], [uprobes] and what comes after them.
                _ => RegionKind::Special,
            },
            Some(_) => of_a_path(),
        }
    }
}

/// Device memory and descriptors of the kernel: no pages that a write fault could be taken on.
fn is_device(name: &str) -> bool {
    let ordinary = ["/dev/shm/", "/dev/hugepages/", "/dev/zero", "/dev/mqueue/"];
    match name.as_bytes() {
        [b'/', b'd', b'e', b'v', b'/', ..] => !ordinary.iter().any(|prefix| name.starts_with(prefix)),
        [b'/', b'd' | b'a' | b'i', ..] => {
            name.starts_with("/anon_inode:")
                || name.starts_with("/dmabuf")
                || matches!(name, "/i915" | "/i915 (deleted)")
        }
        _ => name.starts_with("anon_inode:") || name.starts_with("socket:"),
    }
}

impl fmt::Display for MemoryRegion {
    /// The line that `/proc/PID/maps` has for it, without its padding.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start, end, permissions, offset, device, inode, pathname } = self;
        write!(f, "{start:08x}-{end:08x} {permissions} {offset:08x} {device} {inode} ")?;
        f.write_str(pathname.as_deref().unwrap_or_default())
    }
}

impl MemoryRegion {
    fn new(map: &MemoryMap, pathname: &str) -> Self {
        let flag = |wanted, letter| if map.perms.contains(wanted) { letter } else { '-' };
        Self {
            start: map.address.0,
            end: map.address.1,
            permissions: [
                flag(MMPermissions::READ, 'r'),
                flag(MMPermissions::WRITE, 'w'),
                flag(MMPermissions::EXECUTE, 'x'),
                if map.perms.contains(MMPermissions::SHARED) { 's' } else { 'p' },
            ]
            .iter()
            .collect(),
            offset: map.offset,
            device: format!("{:02x}:{:02x}", map.dev.0, map.dev.1),
            inode: map.inode,
            pathname: (!pathname.is_empty()).then(|| pathname.to_owned()),
        }
    }
}

/// Reads the text of `/proc/PID/maps`. Names of files need not be UTF-8; what is not is replaced.
///
/// The columns of numbers go through the `procfs` crate. The names do not: they are the target's to choose, and the crate
/// trusts the shape of some of them.
pub fn parse_maps(text: &[u8]) -> Result<Vec<MemoryRegion>, procfs::ProcError> {
    let mut columns = String::with_capacity(text.len());
    let mut names = Vec::new();
    for line in text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        // What begins otherwise the crate takes for one of smaps, about the mapping before.
        if !matches!(line[0], b'0'..=b'9' | b'a'..=b'f') {
            return Err(procfs::ProcError::Other("a line begins with no address".into()));
        }
        let line = String::from_utf8_lossy(line);
        // Five columns, each followed by one blank; then the name, padded on its left.
        let name_at = line.match_indices(' ').nth(4).map_or(line.len(), |(at, _)| at + 1);
        columns.push_str(line[..name_at].trim_end());
        columns.push_str(" \n");
        names.push(line[name_at..].trim_start().to_owned());
    }
    let maps = MemoryMaps::from_buf_read(columns.as_bytes())?;
    if maps.iter().any(|map| map.dev.0 < 0 || map.dev.1 < 0) {
        return Err(procfs::ProcError::Other("a device has a negative number".into()));
    }
    Ok(maps.into_iter().zip(&names).map(|(map, name)| MemoryRegion::new(&map, name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_another_file_is_refused() {
        let line = "7f0000000000-7f0000001000 rw-p 00000000 00:00 0 ";
        assert_eq!(parse_maps(format!("{line}\n{line}[heap]\n").as_bytes()).expect("two").len(), 2);
        assert!(parse_maps(format!("{line}\nSize: 18446744073709551615 kB\n{line}\n").as_bytes()).is_err());
        assert!(
            parse_maps(line.replace("00:00", "-8:01").as_bytes()).is_err(),
            "no device has such a number"
        );
    }
}
