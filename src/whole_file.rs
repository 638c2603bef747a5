//! A file that is there whole, or not at all: written beside its place, and put there once the disk has it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A file that is being written. Dropped before it is kept, it leaves nothing, and what was in its place
/// before stays.
#[derive(Debug)]
pub(crate) struct WholeFile {
    file: File,
    place: PathBuf,
    /// Where it is until it is whole; nowhere else when its place is a device or a pipe.
    draft: Option<PathBuf>,
    /// Who may read and write it once it is whole; until then only its owner may.
    mode: u32,
}

impl WholeFile {
    /// Begins a file for `place`. A link leads to where it leads; what is no regular file is written to as it
    /// is.
    pub fn begin(place: &Path) -> io::Result<Self> {
        // A link that leads nowhere yet is replaced.
        let place = fs::canonicalize(place).unwrap_or_else(|_| place.to_owned());
        let there = fs::metadata(&place).ok();
        if there.as_ref().is_some_and(|there| !there.is_file()) {
            let file = File::options().write(true).open(&place)?;
            return Ok(Self { file, place, draft: None, mode: 0 });
        }
        let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if place.file_name().is_none() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let (file, draft) = create_beside(folder)?;
        let mode = there.map_or_else(|| 0o666 & !umask(), |there| there.permissions().mode() & 0o7777);
        Ok(Self { file, place, draft: Some(draft), mode })
    }

    /// Nobody but its owner can read it, whatever was in its place before.
    pub fn for_its_owner(mut self) -> Self {
        self.mode = 0o600;
        self
    }

    /// The file is whole: it takes its place, and that of whatever was there.
    pub fn keep(mut self) -> io::Result<()> {
        let Some(draft) = &self.draft else { return Ok(()) };
        self.finish()?;
        fs::rename(draft, &self.place)?;
        self.draft = None;
        Ok(())
    }

    fn finish(&self) -> io::Result<()> {
        self.file.set_permissions(fs::Permissions::from_mode(self.mode))?;
        self.file.sync_all()
    }

    /// As [`Self::keep`], if nothing else has taken the place.
    pub fn keep_new(mut self) -> io::Result<()> {
        let Some(draft) = &self.draft else { return Ok(()) };
        self.finish()?;
        match fs::hard_link(draft, &self.place) {
            // The draft goes with what is dropped.
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
            // A file system without a second name for a file.
            Err(_) if !self.place.exists() => fs::rename(draft, &self.place)?,
            Err(_) => return Err(io::ErrorKind::AlreadyExists.into()),
        }
        self.draft = None;
        Ok(())
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if let Some(draft) = &self.draft {
            // That it cannot be removed changes nothing about why it was not kept.
            let _ = fs::remove_file(draft);
        }
    }
}

/// What this process takes of the rights to what it makes. The call that tells would set it for all threads.
fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).unwrap_or(0o077)
}

/// A new file in `folder`, with a name that no other writer has.
fn create_beside(folder: &Path) -> io::Result<(File, PathBuf)> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = OsString::from(format!(".memory-glass-{}-{count}.part", std::process::id()));
        let path = folder.join(name);
        // Who opened it now could read it later.
        match File::options().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => return Ok((file, path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("read").flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_not_kept_leaves_what_was_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("a.png");
        for kept in [false, true] {
            let mut file = WholeFile::begin(&place).expect("begun");
            file.write_all(b"new").expect("written");
            assert!(!place.exists());
            if kept {
                file.keep().expect("kept");
            }
        }
        assert_eq!(
            (names(folder.path()), fs::read(&place).expect("there")),
            (vec!["a.png".into()], b"new".to_vec())
        );
        drop(WholeFile::begin(&place).expect("begun"));
        assert_eq!(fs::read(&place).expect("there"), b"new");
        let mut second = WholeFile::begin(&place).expect("begun");
        second.write_all(b"other").expect("written");
        assert_eq!(second.keep_new().expect_err("taken").kind(), io::ErrorKind::AlreadyExists);
        assert_eq!((names(folder.path()).len(), fs::read(&place).expect("there")), (1, b"new".to_vec()));
        let mut third = WholeFile::begin(&folder.path().join("b")).expect("begun");
        third.write_all(b"third").expect("written");
        third.keep_new().expect("free");
        assert_eq!(names(folder.path()), ["a.png", "b"]);
    }

    #[test]
    fn what_is_for_its_owner_is_so_whatever_was_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("a");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        let draft = WholeFile::begin(&place).expect("begun");
        assert_eq!(mode(draft.draft.as_deref().expect("a file")), 0o600);
        draft.keep().expect("kept");
        assert_eq!(mode(&place), 0o666 & !umask());
        fs::set_permissions(&place, fs::Permissions::from_mode(0o644)).expect("set");
        WholeFile::begin(&place).expect("begun").for_its_owner().keep().expect("kept");
        assert_eq!(mode(&place), 0o600);
    }

    #[test]
    fn links_modes_and_devices_are_as_they_would_be_for_any_writer() {
        let folder = tempfile::tempdir().expect("a folder");
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::write(&real, "old").expect("written");
        fs::set_permissions(&real, fs::Permissions::from_mode(0o604)).expect("set");
        symlink("real", &link).expect("linked");
        let mut file = WholeFile::begin(&link).expect("begun");
        file.write_all(b"new").expect("written");
        file.keep().expect("kept");
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        assert_eq!(fs::read(&real).expect("there"), b"new");
        assert_eq!(fs::metadata(&real).expect("there").permissions().mode() & 0o777, 0o604);
        let mut null = WholeFile::begin(Path::new("/dev/null")).expect("a device");
        null.write_all(b"gone").expect("written");
        null.keep().expect("kept");
        assert!(!fs::metadata("/dev/null").expect("there").is_file());
        assert!(WholeFile::begin(folder.path()).is_err(), "a folder is no file");
        assert!(WholeFile::begin(&folder.path().join("no/such")).is_err());
    }
}
