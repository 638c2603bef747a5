//! Everything that reads what others write, as functions of bytes that must not panic, hang or take more memory than they may.
//!
//! The fuzzers of `tests/fuzz` feed them, and the test here feeds them what the fuzzers have kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::session::fuzz as control;
use crate::capture::broker::Policy;
use crate::capture::fuzz::{broker, pagemap, perf, uffd};
use crate::capture::recording::Recording;
use crate::capture::region;
use crate::config::{Config, Overrides};
use crate::sensing::WriteTrace;

/// What takes bytes of others.
pub type Reader = fn(&[u8]);

/// Each reader with its name, which is also that of its folder in `tests/fuzz/corpus`.
pub const READERS: [(&str, Reader); 10] = [
    ("broker", broker),
    ("config", config),
    ("control", control),
    ("maps", maps),
    ("pagemap", pagemap),
    ("perf", perf),
    ("policy", policy),
    ("recording", recording),
    ("trace", trace),
    ("uffd", uffd),
];

/// `/proc/PID/maps`, in which the target chooses the names of files.
fn maps(bytes: &[u8]) {
    let Ok(regions) = region::parse_maps(bytes) else { return };
    for region in &regions {
        let _ = (region.kind(), region.is_watchable(), region.pages(4096));
    }
    // What was understood is understood the same when it is written out.
    let lines: Vec<String> = regions.iter().map(|region| format!("{region}\n")).collect();
    let again = region::parse_maps(lines.concat().as_bytes()).expect("our own words");
    assert_eq!(again.len(), regions.len());
}

fn config(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(config) = Config::parse(text, Path::new("config.toml"))
    {
        let config = config.overridden(&Overrides::default());
        let _ = (config.hilbert(), config.look(), config.display_settings());
    }
}

fn policy(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Policy::parse(text, Path::new("policy.toml"));
    }
}

fn recording(bytes: &[u8]) {
    let file = Scratch::new("recording", bytes);
    if let Ok(recording) = Recording::open(&file.0) {
        let windows = recording.cursor_at(Duration::ZERO).count();
        assert!(recording.cursor_at(recording.end()).count() <= windows);
    }
    let _ = WriteTrace::read_recording(&file.0);
}

/// The `.npz` form of a recording.
fn trace(bytes: &[u8]) {
    let file = Scratch::new("trace", bytes);
    if let Ok(trace) = WriteTrace::read_npz(&file.0) {
        assert!(trace.windows().iter().all(|window| window.pages() == trace.pages()));
    }
}

/// A file in memory, for readers that want a path.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = Path::new("/dev/shm").join(format!("memory-glass-{name}-{}", std::process::id()));
        std::fs::write(&path, bytes).expect("written");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_fuzzers_have_kept_harms_no_reader() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
        for (name, reader) in READERS {
            let files: Vec<_> = std::fs::read_dir(corpus.join(name)).expect(name).collect();
            assert!(!files.is_empty(), "{name} has none");
            for file in files {
                reader(&std::fs::read(file.expect("listed").path()).expect("read"));
            }
        }
    }

    /// A reader that refuses everything would pass any fuzzer.
    #[test]
    fn every_form_is_also_understood() {
        let read = |path: &str| std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect(path);
        let maps = std::fs::read("/proc/self/maps").expect("read");
        assert!(region::parse_maps(&maps).expect("maps").len() > 10);
        let text = String::from_utf8(read("session/config.toml")).expect("text");
        assert!(Config::parse(&text, Path::new("config.toml")).is_ok());
    }
}
