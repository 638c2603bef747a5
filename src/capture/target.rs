//! Looking at a process before it is touched: who it is, and whether it can be attached to at all.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::CaptureError;

/// What is known of a target for as long as it is attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetInfo {
    /// Its process number.
    pub pid: u32,
    /// Its name, at most fifteen bytes long.
    pub comm: String,
    /// The size of its pages in bytes.
    pub page_size: u64,
}

/// The lines of a `/proc/…/status` file. Bytes that are not UTF-8 (a name may hold any) are replaced.
pub(crate) struct Status(String);

impl Status {
    pub fn read(path: &Path) -> Result<Self, Errno> {
        // Such a file says no length, and would be read in pieces that begin small.
        let mut bytes = Vec::with_capacity(4096);
        File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(errno)?;
        Ok(Self(String::from_utf8_lossy(&bytes).into_owned()))
    }

    pub fn of(pid: u32) -> Result<Self, Errno> {
        Self::read(&proc_path(pid, "status"))
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.field(name)?.split_whitespace().next()?.parse().ok()
    }

    pub fn name(&self) -> String {
        self.field("Name").unwrap_or("?").to_owned()
    }

    pub fn state(&self) -> char {
        self.field("State").and_then(|state| state.chars().next()).unwrap_or('?')
    }
}

pub(crate) fn proc_path(pid: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

/// As `proc_path`, of one thread.
pub(crate) fn task_path(pid: u32, tid: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/task/{tid}/{name}"))
}

/// The thread through which the process' memory and descriptors are seen: the first, or another where that
/// one has ended.
pub(crate) fn living_thread(pid: u32) -> u32 {
    let lives = |status: &Status| !matches!(status.state(), 'Z' | 'X');
    if Status::of(pid).is_ok_and(|status| lives(&status)) {
        return pid;
    }
    let tasks = fs::read_dir(proc_path(pid, "task")).into_iter().flatten().flatten();
    let mut tids = tasks.filter_map(|task| task.file_name().to_str()?.parse::<u32>().ok());
    tids.find(|tid| Status::read(&task_path(pid, *tid, "status")).is_ok_and(|status| lives(&status)))
        .unwrap_or(pid)
}

/// Where a file in /proc that speaks of the memory of a process is found: under its first thread or, when
/// that one has ended, under one that lives.
pub(crate) fn memory_path(pid: u32, name: &str) -> PathBuf {
    match living_thread(pid) {
        leader if leader == pid => proc_path(pid, name),
        tid => task_path(pid, tid, name),
    }
}

pub(crate) fn errno(error: std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// Everything that forbids attaching and can be read from outside, checked without touching the process.
pub(crate) fn inspect(pid: u32) -> Result<TargetInfo, CaptureError> {
    let status = match Status::of(pid) {
        Ok(status) if pid != 0 => status,
        Err(errno @ (Errno::EACCES | Errno::EPERM)) => {
            return Err(CaptureError::NotPermitted { pid, what: "reading its status", errno });
        }
        _ => return Err(CaptureError::NoSuchProcess { pid }),
    };
    let comm = status.name();
    let leader = status.number("Tgid").map_or(pid, |leader| leader as u32);
    if leader == std::process::id() {
        return Err(CaptureError::Ourselves { pid });
    }
    if leader != pid {
        return Err(CaptureError::ThreadOfProcess { tid: pid, pid: leader });
    }
    if is_kernel_thread(pid) {
        return Err(CaptureError::KernelThread { pid, comm });
    }
    // Its first thread may have ended while others work on.
    if matches!(status.state(), 'Z' | 'X') && living_thread(pid) == pid {
        return Err(CaptureError::Zombie { pid, comm });
    }
    if let Some(tracer) = status.number("TracerPid").filter(|&tracer| tracer != 0) {
        // The field names the thread that traces; people know its process.
        let thread = Status::of(tracer as u32).ok();
        let tracer = thread.and_then(|thread| thread.number("Tgid")).unwrap_or(tracer) as u32;
        let name = Status::of(tracer).map_or_else(|_| "?".into(), |status| status.name());
        return Err(CaptureError::AlreadyTraced { pid, tracer, name });
    }
    match elf_class(pid) {
        Ok(Some(ElfClass::SixtyFour)) | Ok(None) => {}
        Ok(Some(ElfClass::ThirtyTwo)) => return Err(CaptureError::ThirtyTwoBit { pid }),
        Err(errno @ (Errno::EACCES | Errno::EPERM)) => {
            return Err(CaptureError::NotPermitted { pid, what: "reading its program", errno });
        }
        // A program whose file cannot be opened (deleted on a network disk, say) is told by its registers
        // later.
        Err(_) => {}
    }
    Ok(TargetInfo { pid, comm, page_size: super::sys::page_size() })
}

/// Opens one of the target's files in /proc that need the right to trace it.
pub(crate) fn open_proc(pid: u32, name: &'static str) -> Result<File, CaptureError> {
    // Of the whole process, whichever thread is left.
    let path = if name == "stat" { proc_path(pid, name) } else { memory_path(pid, name) };
    File::open(path).map_err(|error| match errno(error) {
        Errno::ENOENT | Errno::ESRCH => CaptureError::NoSuchProcess { pid },
        errno @ (Errno::EACCES | Errno::EPERM) => {
            CaptureError::NotPermitted { pid, what: "opening its memory map", errno }
        }
        errno => CaptureError::System { operation: "opening its memory map", pid, errno },
    })
}

/// Kernel threads carry a flag of their own (newer kernels print it, too, but older ones do not).
fn is_kernel_thread(pid: u32) -> bool {
    const PF_KTHREAD: u32 = 0x0020_0000;
    let stat = fs::read(proc_path(pid, "stat")).unwrap_or_default();
    stat_fields(&stat)
        .get(6)
        .and_then(|flags| flags.parse::<u32>().ok())
        .is_some_and(|flags| flags & PF_KTHREAD != 0)
}

/// The fields of a `stat` file behind the name: the first is the state. The name may hold blanks and
/// parentheses.
pub(crate) fn stat_fields(stat: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(stat);
    let behind = text.rfind(')').map_or("", |at| &text[at + 1..]);
    behind.split_whitespace().map(str::to_owned).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ElfClass {
    ThirtyTwo,
    SixtyFour,
}

fn elf_class(pid: u32) -> Result<Option<ElfClass>, Errno> {
    const EM_X86_64: u8 = 62;
    let mut header = [0; 20];
    let mut file = File::open(memory_path(pid, "exe")).map_err(errno)?;
    if file.read_exact(&mut header).is_err() || !header.starts_with(b"\x7fELF") {
        return Ok(None);
    }
    // x32 programs are 64-bit machine code in a 32-bit file: their calls are numbered differently, so they
    // count as 32-bit.
    Ok(Some(if header[4] == 2 && header[18] == EM_X86_64 {
        ElfClass::SixtyFour
    } else {
        ElfClass::ThirtyTwo
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_does_not_shift_the_fields() {
        let fields = stat_fields(b"12 (a) (b c) S 1 2 3 4 5 2129984 7\n");
        assert_eq!(fields[0], "S");
        assert_eq!(fields[6], "2129984");
    }

    #[test]
    fn a_status_line_is_found_by_its_whole_name() {
        let status = Status("Name:\tx y\nTracerPid:\t0\nPid:\t77\nState:\tZ (zombie)\n".into());
        assert_eq!((status.name().as_str(), status.number("Pid"), status.state()), ("x y", Some(77), 'Z'));
    }
}
