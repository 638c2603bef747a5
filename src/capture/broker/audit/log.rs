//! The log as a file, and the files beside it.
//!
//! What is full is copied, never renamed: everything is open from the start, so who keeps the log need not be
//! able to open a file. Refusals cannot push out attaches: of a full log only what is no refusal goes to `.1`
//! and the older ones; the refusals go to `.refused`, in the place of those before. And attaches of one user
//! push out none of another's ([`shares`](super::shares)).

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Event, shares};

/// A log that has grown to this is put aside.
const ROTATE_AT: u64 = 8 << 20;
/// Logs that were put aside and are kept, the newest as `.1`.
const KEPT: usize = 4;

/// The file, and those that were put aside.
#[derive(Debug)]
pub struct AuditLog {
    path: PathBuf,
    file: File,
    aside: Option<Aside>,
    rotate_at: u64,
}

#[derive(Debug)]
struct Aside {
    older: Vec<File>,
    /// What is going to be the oldest of them, while that is written.
    spare: File,
    refused: File,
}

impl AuditLog {
    /// Opens the log for appending; it and its folder are for their owner only.
    ///
    /// # Errors
    ///
    /// It cannot be made or opened, or is a link.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::with_limit(path, ROTATE_AT)
    }

    fn with_limit(path: &Path, rotate_at: u64) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        Ok(Self { path: path.to_owned(), file: open(path)?, aside: None, rotate_at })
    }

    /// Opens what it is going to need, so that nothing has to be opened later.
    pub(super) fn prepare(&mut self) -> io::Result<()> {
        if self.aside.is_none() {
            let beside = |ending: &str| {
                let mut name = self.path.clone().into_os_string();
                name.push(ending);
                open(Path::new(&name))
            };
            let older = (1..=KEPT).map(|number| beside(&format!(".{number}"))).collect::<io::Result<_>>()?;
            self.aside = Some(Aside { older, spare: beside(".spare")?, refused: beside(".refused")? });
        }
        Ok(())
    }

    /// All that it needs.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let aside =
            self.aside.iter().flat_map(|aside| aside.older.iter().chain([&aside.spare, &aside.refused]));
        [&self.file].into_iter().chain(aside).map(AsFd::as_fd)
    }

    /// Appends one line and returns when it is on the disk.
    ///
    /// # Errors
    ///
    /// It is not, or only a part of it; the next one begins on a line of its own all the same.
    pub fn write(&mut self, line: &str) -> io::Result<()> {
        // Several of one user's may keep the same file.
        self.file.lock()?;
        let written = self.write_alone(line);
        self.file.unlock().and(written)
    }

    fn write_alone(&mut self, line: &str) -> io::Result<()> {
        if self.file.metadata()?.len() >= self.rotate_at {
            self.rotate()?;
        }
        let mut bytes = Vec::with_capacity(line.len() + 2);
        // Who was killed, or had no room, may have left half a line.
        if is_torn(&self.file)? {
            bytes.push(b'\n');
        }
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
        (&self.file).write_all(&bytes)?;
        self.file.sync_data()
    }

    /// Each log becomes an older one; the two oldest are one then, and all together leave room for another.
    fn make_room(&self, older: &[File], spare: &File) -> io::Result<()> {
        let logs = older.iter().rev().map(content).collect::<io::Result<Vec<_>>>()?;
        let most = usize::try_from(self.rotate_at).unwrap_or(usize::MAX).saturating_mul(KEPT - 1);
        let kept = shares::thin(&logs, most);
        let (oldest, newer) = kept.split_at(2.min(kept.len()));
        let oldest = oldest.concat();
        // Its own lines are in no other file meanwhile.
        replace(spare, &oldest)?;
        let mut places = older.iter().rev();
        for (log, place) in std::iter::once(&oldest).chain(newer).zip(places.by_ref()) {
            replace(place, log)?;
        }
        places.try_for_each(|rest| rest.set_len(0))?;
        spare.set_len(0)
    }

    /// Whatever it is interrupted by, each line is in one of the files at least.
    fn rotate(&mut self) -> io::Result<()> {
        self.prepare()?;
        let Some(Aside { older, spare, refused }) = &self.aside else { return Ok(()) };
        let (mut of_refusals, mut others) = (Vec::new(), Vec::new());
        for line in content(&self.file)?.split_inclusive(|byte| *byte == b'\n') {
            if is_refusal(line) { &mut of_refusals } else { &mut others }.extend_from_slice(line);
        }
        if let Some(newest) = older.first() {
            if newest.metadata()?.len() >= self.rotate_at {
                self.make_room(older, spare)?;
            }
            let mut newest: &File = newest;
            newest.write_all(&others)?;
            newest.sync_data()?;
        }
        if !of_refusals.is_empty() {
            replace(refused, &of_refusals)?;
        }
        self.file.set_len(0)?;
        self.file.sync_data()
    }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC;
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).custom_flags(flags).open(path)
}

fn is_torn(file: &File) -> io::Result<bool> {
    let Some(last) = file.metadata()?.len().checked_sub(1) else { return Ok(false) };
    let mut byte = [0];
    Ok(file.read_at(&mut byte, last)? == 1 && byte != *b"\n")
}

fn content(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; file.metadata()?.len() as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn replace(file: &File, content: &[u8]) -> io::Result<()> {
    file.set_len(0)?;
    let mut file: &File = file;
    file.write_all(content)?;
    file.sync_data()
}

fn is_refusal(line: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Kind {
        event: Event,
    }
    serde_json::from_slice(line).is_ok_and(|Kind { event }| matches!(event, Event::Refused | Event::Limited))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn read(path: &Path, ending: &str) -> String {
        fs::read_to_string(format!("{}{ending}", path.display())).expect("there is one")
    }

    #[test]
    fn full_logs_are_put_aside_and_the_oldest_go() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit/log.jsonl");
        let mut log = AuditLog::with_limit(&path, 30).unwrap();
        for number in 0..40 {
            log.write(&format!("line {number:010}")).unwrap();
        }
        assert_eq!(read(&path, ""), "line 0000000038\nline 0000000039\n");
        assert_eq!(read(&path, ".1"), "line 0000000036\nline 0000000037\n");
        assert!(read(&path, &format!(".{KEPT}")).starts_with("line"));
        assert!(!fs::exists(directory.path().join(format!("audit/log.jsonl.{}", KEPT + 1))).unwrap());
        // Opened anew it goes on where it was.
        drop(log);
        AuditLog::with_limit(&path, 1000).unwrap().write("more").unwrap();
        assert_eq!(read(&path, ""), "line 0000000038\nline 0000000039\nmore\n");
        for entry in fs::read_dir(path.parent().unwrap()).unwrap().flatten() {
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
        }
    }

    #[test]
    fn refusals_push_out_no_attach() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.jsonl");
        let mut log = AuditLog::with_limit(&path, 200).unwrap();
        log.write(r#"{"event":"attach","pid":7}"#).unwrap();
        for number in 0..1000 {
            log.write(&format!(r#"{{"event":"refused","pid":{number}}}"#)).unwrap();
        }
        assert!(read(&path, ".1").contains(r#"{"event":"attach","pid":7}"#));
        assert!(!read(&path, ".1").contains("refused") && read(&path, ".2").is_empty());
        assert!(read(&path, "").ends_with("{\"event\":\"refused\",\"pid\":999}\n"));
        assert!(read(&path, ".refused").lines().count() > 1);
    }

    #[test]
    fn attaches_of_one_user_push_out_none_of_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.jsonl");
        let mut log = AuditLog::with_limit(&path, 4000).unwrap();
        let attach = |uid: u32, number: u32| {
            format!(
                r#"{{"time":"{number:06}","event":"attach","peer":{{"pid":1,"uid":{uid}}},"target":{{"pid":{number}}}}}"#
            )
        };
        for number in 0..10 {
            log.write(&attach(8, number)).unwrap();
        }
        for number in 100..3100 {
            log.write(&attach(7, number)).unwrap();
        }
        let endings = (1..=KEPT).rev().map(|number| format!(".{number}")).chain([String::new()]);
        let text: String = endings.map(|ending| read(&path, &ending)).collect();
        assert!(text.len() < 4000 * (KEPT + 2), "{} bytes", text.len());
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let of = |uid: u32| lines.iter().filter(move |line| line["peer"]["uid"] == uid);
        assert_eq!(of(8).count(), 10, "all of them: {text}");
        let (sums, left): (Vec<_>, Vec<_>) = of(7).partition(|line| line["event"] == "summary");
        let [sum] = &sums[..] else { panic!("one line says what is gone: {sums:?}") };
        let gone = 3000 - left.len() as u64;
        assert_eq!(sum["summary"]["attaches"], gone);
        assert_eq!(sum["summary"]["processes"], gone);
        let (first, last) = (&sum["summary"]["first"], &sum["summary"]["last"]);
        assert_eq!((first, last.as_str()), (&"000100".into(), Some(&*format!("{:06}", 99 + gone))));
        // The newest are there, and in their order.
        let numbers: Vec<u64> = left.iter().filter_map(|line| line["target"]["pid"].as_u64()).collect();
        assert!(numbers.is_sorted() && numbers.last() == Some(&3099));
    }

    #[test]
    fn a_torn_line_is_closed_before_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        fs::write(&path, "one\n{\"event\":\"att").unwrap();
        let mut log = AuditLog::open(&path).unwrap();
        log.write("two").unwrap();
        log.write("three").unwrap();
        assert_eq!(read(&path, ""), "one\n{\"event\":\"att\ntwo\nthree\n");
    }
}
