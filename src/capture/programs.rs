//! Whether a target could make a userfaultfd, known before anything of it is registered.
//!
//! One that is made, used and closed within a moment is never seen among the descriptors, and what it should
//! have registered has failed by then. So the files that the target runs code of are read, each once, before
//! the target's memory is registered, and those that it maps later with the table that has them: see
//! [`program_file`](super::program_file) for what is looked for. The files are read as they lie on the disk,
//! by the name that the kernel has for them; the target's memory is not. Who attaches reads them first, as it
//! can see more of them: a broker says whether one can, and whether it has seen all. What cannot be read is
//! said.

use std::collections::HashMap;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::libc;
use nix::time::{ClockId, clock_gettime};

use serde::{Deserialize, Serialize};

use super::program_file::makes_userfaultfd;
use super::region::MemoryRegion;
use super::target::proc_path;
use crate::plain::plain;

/// How long the look that finds a file may read it, of our own time and of everybody's. What takes longer is
/// read beside, while the target is watched already, …
const OWN_TIME: Duration = Duration::from_millis(300);
const TIME: Duration = Duration::from_secs(3);
/// … for so long, and asked for as often as this.
const BESIDE: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_secs(1);
/// Files that are remembered for other targets.
const REMEMBERED: usize = 4096;

/// What the person wants of all watches of this program.
static WATCH_ANYWAY: AtomicBool = AtomicBool::new(false);
/// What was read, by device, inode, size and time of the last change.
static READ: Mutex<Option<HashMap<[u64; 5], bool>>> = Mutex::new(None);

/// Whether memory is watched of a program, too, whose files show that it could register it with a userfaultfd
/// of its own. One that is seen to have one is let go of in any case.
pub fn watch_own_userfaultfd(anyway: bool) {
    WATCH_ANYWAY.store(anyway, Ordering::Relaxed);
}

/// What the files of one target say.
#[derive(Debug, Default, Clone)]
pub(super) struct Programs {
    /// By device and inode.
    known: HashMap<(String, u64), Known>,
    /// The first file that can.
    can: Option<String>,
    asked: Option<Instant>,
}

#[derive(Debug, Clone)]
enum Known {
    Read,
    /// The file, and why it was not read.
    Unread(String, String),
    /// It takes long.
    Late(String),
}

/// The same in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::capture) struct ProgramsRead {
    /// Whether one of them can.
    pub can: bool,
    /// Whether each was read that the target ran code of.
    pub all: bool,
}

impl Programs {
    /// What somebody else has read of a target with these mappings.
    pub fn told(said: ProgramsRead, table: &[MemoryRegion]) -> Self {
        let files = table.iter().filter(|region| said.all && runs(region));
        Self {
            known: files.map(|region| (key(region), Known::Read)).collect(),
            can: said.can.then(|| "one of its programs".into()),
            asked: None,
        }
    }

    /// What to tell of it.
    pub fn tell(&self, table: &[MemoryRegion]) -> ProgramsRead {
        let read = |region: &MemoryRegion| matches!(self.known.get(&key(region)), Some(Known::Read));
        ProgramsRead {
            can: self.can.is_some(),
            all: self.can.is_none() && table.iter().filter(|region| runs(region)).all(read),
        }
    }

    /// Whether one of them can make a userfaultfd, and what it could register is to be left alone.
    pub fn can(&self) -> bool {
        self.can.is_some() && !WATCH_ANYWAY.load(Ordering::Relaxed)
    }

    /// The file that can.
    pub fn which(&self) -> Option<&str> {
        self.can.as_deref().filter(|_| self.can())
    }

    /// How many files are not known, and one of them with the reason.
    pub fn unread(&self) -> Option<(usize, String)> {
        let mut unread: Vec<String> = self
            .known
            .values()
            .filter_map(|known| match known {
                Known::Read => None,
                Known::Unread(name, why) => Some(format!("{name}: {why}")),
                Known::Late(name) => Some(format!("{name}: reading it takes long")),
            })
            .collect();
        unread.sort_unstable();
        let first = unread.first()?.clone();
        Some((unread.len(), first))
    }

    /// Whether it is time to ask for files that are read beside.
    pub fn are_due(&mut self) -> bool {
        let late = self.can.is_none() && self.known.values().any(|known| matches!(known, Known::Late(_)));
        let due = late && self.asked.is_none_or(|asked| asked.elapsed() >= AGAIN);
        if due {
            self.asked = Some(Instant::now());
        }
        due
    }

    /// Reads those files of the table that are not known yet; what takes long is left out, or read beside.
    pub fn read(&mut self, pid: u32, table: &[MemoryRegion], beside: bool) {
        if WATCH_ANYWAY.load(Ordering::Relaxed) {
            return;
        }
        let (begun, began) = (Instant::now(), own_time());
        let is_late = || begun.elapsed() > TIME || own_time().saturating_sub(began) > OWN_TIME;
        for region in table.iter().filter(|region| runs(region)) {
            let key = key(region);
            if self.can.is_some() {
                return;
            }
            if matches!(self.known.get(&key), Some(Known::Read | Known::Unread(..))) {
                continue;
            }
            // It is the target's to choose.
            let name = plain(region.pathname.as_deref().unwrap_or_default()).into_owned();
            let late = self.known.contains_key(&key);
            let known = match read(pid, region, &|| late || is_late()) {
                Ok(Some(false)) => Known::Read,
                Ok(Some(true)) => {
                    tracing::info!(pid, "a program of the target can make a userfaultfd");
                    self.can = Some(name);
                    Known::Read
                }
                Ok(None) if !beside => continue,
                Ok(None) => {
                    if !late {
                        read_beside(pid, region.clone());
                    }
                    Known::Late(name)
                }
                Err(error) => Known::Unread(name, error.to_string()),
            };
            self.known.insert(key, known);
        }
    }
}

/// Whether there is code of a file in this mapping.
fn runs(region: &MemoryRegion) -> bool {
    region.is_executable() && region.inode != 0
}

fn key(region: &MemoryRegion) -> (String, u64) {
    (region.device.clone(), region.inode)
}

/// Processor time of this thread.
pub(crate) fn own_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

fn read(pid: u32, region: &MemoryRegion, is_late: &dyn Fn() -> bool) -> io::Result<Option<bool>> {
    let file = open(pid, region)?;
    let about = file.metadata()?;
    let key = [about.dev(), about.ino(), about.size(), about.mtime() as u64, about.mtime_nsec() as u64];
    let remembered = || READ.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = remembered().as_ref().and_then(|read| read.get(&key).copied()) {
        return Ok(Some(found));
    }
    let found = makes_userfaultfd(&file, is_late)?;
    if let Some(found) = found {
        let mut read = remembered();
        let read = read.get_or_insert_default();
        if read.len() >= REMEMBERED {
            read.clear();
        }
        read.insert(key, found);
    }
    Ok(found)
}

/// Reads a file whose answer is remembered.
fn read_beside(pid: u32, region: MemoryRegion) {
    let reader = std::thread::Builder::new().name("mg-programs".into());
    let started = reader.spawn(move || {
        let begun = Instant::now();
        if let Err(error) = read(pid, &region, &|| begun.elapsed() > BESIDE) {
            tracing::debug!(pid, %error, "a program file cannot be read");
        }
    });
    if let Err(error) = started {
        tracing::debug!(pid, %error, "no thread to read a program file");
    }
}

/// The file of a mapping: as we see it, as the target does, as its program, or by the mapping itself, as far
/// as we may.
fn open(pid: u32, region: &MemoryRegion) -> io::Result<File> {
    let name = region.pathname.as_deref().unwrap_or_default();
    let inside = name.strip_prefix('/').unwrap_or(name);
    let ways = [
        PathBuf::from(name),
        proc_path(pid, "root").join(inside),
        proc_path(pid, "exe"),
        proc_path(pid, &format!("map_files/{:x}-{:x}", region.start, region.end)),
    ];
    let mut refused = None;
    for way in ways {
        match open_file(&way, region.inode) {
            Ok(file) => return Ok(file),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

/// Opens an ordinary file, as `look_at` finds it.
fn open_file(path: &Path, inode: u64) -> io::Result<File> {
    let (file, _) = look_at(path, inode)?;
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Looks at an ordinary file on a disk for which the kernel alone answers; another program's, or another
/// machine's, could let us wait.
pub(super) fn look_at(path: &Path, inode: u64) -> io::Result<(File, Metadata)> {
    const REMOTE: [i64; 7] =
        [0x6573_5546, 0x6969, 0xff53_4d42, 0xfe53_4d42, 0x0102_1997, 0x00c3_6400, 0x5346_414f];
    // What is in its place by now may be anything, and opening a device may do something: it is looked at
    // first.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() || about.ino() != inode {
        return Err(io::Error::other("another file has its name now"));
    }
    if nix::sys::statfs::fstatfs(&file).is_ok_and(|disk| REMOTE.contains(&disk.filesystem_type().0)) {
        return Err(io::Error::other("it does not lie on a disk of this machine"));
    }
    Ok((file, about))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// A file with code, which is none that any linker has made.
    fn says(code: &[u8]) -> bool {
        let mut file = tempfile::tempfile().expect("made");
        file.write_all(code).expect("written");
        makes_userfaultfd(&file, &|| false).expect("read").expect("in time")
    }

    #[test]
    fn the_call_is_found_wherever_it_lies_and_the_number_alone_is_nothing() {
        const EAX: &[u8] = &[0xb8, 0x43, 1, 0, 0, 0x31, 0xff, 0x0f, 0x05];
        for before in [0, 1, 4096, (1 << 20) - 9, (1 << 20) - 4, (1 << 20) - 1, 1 << 20] {
            assert!(says(&[&vec![0x90; before], EAX].concat()), "{before} bytes before");
        }
        assert!(says(&[0x48, 0xc7, 0xc0, 0x43, 1, 0, 0, 0x0f, 0x05]));
        assert!(says(&[0x68, 0x43, 1, 0, 0, 0x58, 0x0f, 0x05]));
        // Another number, another register, another instruction behind, or none.
        assert!(!says(&[0xb8, 0x44, 1, 0, 0, 0x0f, 0x05]));
        assert!(!says(&[0x41, 0xb8, 0x43, 1, 0, 0, 0x0f, 0x05]));
        assert!(!says(&[0xbf, 0x43, 1, 0, 0, 0xe8, 0, 0, 0, 0, 0xc3]));
        assert!(!says(&[0xb8, 0x43, 1, 0, 0, 0xc3]));
        assert!(!says(b""));
        // The library's function, linked in.
        let function = [0x48, 0x89, 0xf8, 0x48, 0x89, 0xf7, 0x48, 0x89, 0xd6, 0x0f, 0x05, 0xc3];
        let call = [0xbf, 0x43, 1, 0, 0, 0x31, 0xc0, 0xe8, 1, 0, 0, 0, 0xc3];
        assert!(says(&[&call[..], &function].concat()));
        let another = [0x48, 0x83, 0xec, 0x50, 0x48, 0x89, 0xf8, 0x4c, 0x89, 0xc9, 0x0f, 0x05, 0xc3];
        assert!(says(&[&call[..], &another].concat()));
        // Another function: it has a number of its own.
        assert!(!says(&[&call[..], &[0xb8, 3, 0, 0, 0, 0x0f, 0x05, 0xc3]].concat()));
        // The number is for another one that is called first.
        let call = [0xbf, 0x43, 1, 0, 0, 0xe8, 0, 0, 0, 0, 0xe8, 1, 0, 0, 0, 0xc3];
        assert!(!says(&[&call[..], &function].concat()));
    }

    #[test]
    fn the_name_of_the_device_is_an_argument_or_nothing() {
        let lea = |to: u8| [&[0x48, 0x8d, 0x3d, to, 0, 0, 0, 0xc3][..], b"/dev/userfaultfd\0"].concat();
        assert!(says(&lea(1)));
        assert!(!says(&lea(2)));
        assert!(!says(b"/dev/kvm\0/dev/userfaultfd\0"));
    }

    #[test]
    fn damaged_files_are_read_to_their_end() {
        let own = std::fs::read("/proc/self/exe").expect("our own");
        let mut head = own.get(..4096.min(own.len())).expect("so long").to_vec();
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..300 {
            let at = random.usize(16..head.len());
            head[at] = random.u8(..);
            let mut file = tempfile::tempfile().expect("made");
            file.write_all(&head).expect("written");
            let _ = makes_userfaultfd(&file, &|| false);
        }
    }

    #[test]
    fn a_file_that_takes_too_long_is_not_known() {
        let file = File::open("/proc/self/exe").expect("our own");
        let found = makes_userfaultfd(&file, &|| true);
        assert_eq!(found.expect("read"), None);
    }
}
