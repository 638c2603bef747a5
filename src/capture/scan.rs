//! `PAGEMAP_SCAN`: which pages were written since they were last armed, arming them again in the same step.
//!
//! What counts as written is what the page table says, so each kind of mapping needs its own question:
//!
//! * private mappings: present or swapped out, not armed, not the zero page, and not a page of the file. A read fault
//!   of fresh memory maps the zero page and a read of a private file maps the file's own page; only a write replaces
//!   either by a page of the process itself, which carries no mark yet and therefore counts;
//! * shared mappings: their pages are the file's whether written or not, so a page that was merely read for the
//!   first time looks like a written one, unless a marker was armed in its place before (see `marks`).
//!
//! Pages that do not exist match neither, so sparse reservations cost no page tables.
//!
//! Such a question costs the kernel some 30 ns a page, written or not, where it has to look at the page
//! itself (is it the file's?), and less where there is no file. "Is it armed?" alone has a short cut in the
//! kernel (`pagemap_scan_pmd_entry`) and costs 1 to 2 ns, so it is asked first, of everything, and the full
//! question only where the answer was no. A page that is written between the two is still unarmed at the next
//! scan, and found then.

#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::OnceLock;
use std::time::Instant;

use nix::errno::Errno;

use super::PageRange;
use super::piece::{Pieces, Turns};
use super::sys::{self, PageRegion, PmScanArg};

/// Runs that one call can report; more are fetched by further calls.
const RUNS: usize = 4096;

/// Candidates that are nearer to each other than this are asked about in one call: what the pages between
/// them cost is about what a call costs.
const WORTH_A_CALL: u64 = 64 * 4096;

/// Pages in memory that one call goes over, where only their kind is asked.
const EXISTING_AT_ONCE: u64 = 1 << 14;

/// Which pages a scan looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// Written pages of a mapping without a file. Whether a page is a file's is not asked: the kernel would
    /// have to look at each page itself, not only at its entry in the table.
    Anonymous,
    /// Written pages of a private mapping of a file.
    Private,
    /// Written pages of a pool: shared or not, nothing tells a first read of one from a write. Never asked of
    /// a part of one.
    HugeTlb,
    /// Written pages of a shared mapping.
    Shared,
    /// Written pages of a shared mapping, and a marker armed on every page that does not exist yet. Asked of
    /// memory without a page table, it makes one.
    SharedWithMarkers,
}

const EXISTS: u64 = sys::PAGE_IS_PRESENT | sys::PAGE_IS_SWAPPED;

impl Question {
    fn asked(self, arm: bool) -> PmScanArg {
        let arming = if arm { sys::PM_SCAN_WP_MATCHING } else { 0 };
        let base = PmScanArg {
            flags: arming | sys::PM_SCAN_CHECK_WPASYNC,
            return_mask: sys::PAGE_IS_WRITTEN
                | sys::PAGE_IS_PRESENT
                | sys::PAGE_IS_SWAPPED
                | sys::PAGE_IS_HUGE,
            ..PmScanArg::default()
        };
        let guard = guard_pages();
        match self {
            Question::Anonymous => PmScanArg {
                category_mask: sys::PAGE_IS_WRITTEN | sys::PAGE_IS_PFNZERO | guard,
                category_inverted: sys::PAGE_IS_PFNZERO | guard,
                category_anyof_mask: EXISTS,
                ..base
            },
            Question::Private => PmScanArg {
                category_mask: sys::PAGE_IS_WRITTEN | sys::PAGE_IS_PFNZERO | sys::PAGE_IS_FILE | guard,
                category_inverted: sys::PAGE_IS_PFNZERO | sys::PAGE_IS_FILE | guard,
                category_anyof_mask: EXISTS,
                ..base
            },
            Question::Shared | Question::HugeTlb => PmScanArg {
                category_mask: sys::PAGE_IS_WRITTEN | guard,
                category_inverted: guard,
                category_anyof_mask: EXISTS,
                ..base
            },
            Question::SharedWithMarkers => base,
        }
    }
}

/// The category of guard pages, which look like swapped ones otherwise; 0 on a kernel that does not name it.
fn guard_pages() -> u64 {
    static KNOWN: OnceLock<u64> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        let Ok(file) = File::open("/proc/self/pagemap") else { return 0 };
        let asked = PmScanArg {
            category_mask: sys::PAGE_IS_GUARD,
            return_mask: sys::PAGE_IS_GUARD,
            ..PmScanArg::default()
        };
        // Of a page that no process has, so that nothing but the question is judged.
        let nothing = PageRange::new(sys::page_size(), 2 * sys::page_size());
        let answer = Pagemap::with_capacity(file, 1).walk(nothing, asked, true, |_| {});
        if answer.is_ok() { sys::PAGE_IS_GUARD } else { 0 }
    })
}

/// A run of pages that a scan found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub range: PageRange,
    pub huge: bool,
}

impl Found {
    /// What the kernel says of a run, if that is that it was written.
    fn new(run: &PageRegion) -> Option<Self> {
        (run.categories & sys::PAGE_IS_WRITTEN != 0 && run.categories & EXISTS != 0).then(|| Self {
            range: PageRange::new(run.start, run.end),
            huge: run.categories & sys::PAGE_IS_HUGE != 0,
        })
    }
}

/// Appends a run, or what of it is new.
fn note_unarmed(unarmed: &mut Vec<PageRange>, run: &PageRegion) {
    match unarmed.last_mut() {
        Some(last) if run.start <= last.end => last.end = last.end.max(run.end),
        _ => unarmed.push(PageRange::new(run.start, run.end)),
    }
}

/// Takes the answers out of the buffer: what lies within `asked`, up to the first entry that is none. The
/// rest of the crate takes for granted that ranges are of whole memory, and not reversed.
fn answers(runs: &mut [PageRegion], asked: PageRange, mut each: impl FnMut(&PageRegion)) {
    for run in runs.iter_mut().take_while(|run| run.end != 0) {
        let within = PageRange::new(run.start, run.end).intersection(&asked);
        let run = std::mem::take(run);
        if let Some(within) = within {
            each(&PageRegion { start: within.start, end: within.end, ..run });
        }
    }
}

/// An open `/proc/PID/pagemap` with the buffer for its answers.
#[derive(Debug)]
pub(crate) struct Pagemap {
    file: File,
    /// All zero between calls: an entry with an end is an answer, also when the call ends in an error half
    /// way.
    runs: Vec<PageRegion>,
    looking: Pieces,
    arming: Pieces,
    turns: Turns,
    /// What the last call that failed was to go over.
    refused: PageRange,
}

impl Pagemap {
    pub fn new(file: File) -> Self {
        Self::with_capacity(file, RUNS)
    }

    /// As `new`, with room for `runs` runs a call.
    pub fn with_capacity(file: File, runs: usize) -> Self {
        let runs = vec![PageRegion::default(); runs.max(1)];
        Self {
            file,
            runs,
            looking: Pieces::of_looking(),
            arming: Pieces::of_arming(),
            turns: Turns::new(),
            refused: PageRange::new(0, 0),
        }
    }

    /// So many bytes of the address space are in memory.
    pub fn resident(&mut self, bytes: u64) {
        self.looking.resident(bytes);
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Appends where `range` has pages that are not armed: a superset of the written ones.
    pub fn unarmed(&mut self, range: PageRange, unarmed: &mut Vec<PageRange>) -> Result<(), Errno> {
        // Exactly these masks take the kernel's short cut.
        let asked = PmScanArg {
            flags: sys::PM_SCAN_CHECK_WPASYNC,
            category_mask: sys::PAGE_IS_WRITTEN,
            return_mask: sys::PAGE_IS_WRITTEN,
            ..PmScanArg::default()
        };
        // Over many runs the kernel (6.18) reports some of them twice, so a run may begin before the last one
        // ended.
        self.walk(range, asked, false, |run| note_unarmed(unarmed, run))
    }

    /// As [`Self::unarmed`], leaving out the mappings in this range that are not registered.
    pub fn unarmed_among(&mut self, range: PageRange, unarmed: &mut Vec<PageRange>) -> Result<(), Errno> {
        let asked = PmScanArg {
            category_mask: sys::PAGE_IS_WPALLOWED | sys::PAGE_IS_WRITTEN,
            return_mask: sys::PAGE_IS_WRITTEN,
            ..PmScanArg::default()
        };
        self.walk(range, asked, false, |run| note_unarmed(unarmed, run))
    }

    /// What the last call that failed was to go over, of which the calls before it were a part.
    pub fn refused(&self) -> PageRange {
        self.refused
    }

    /// Reports the written pages among `candidates`, and, if told to, arms them in the same step. What lies
    /// closely between two candidates may be looked at, too. On an error the runs found before it are still
    /// reported: they are armed already and would be lost otherwise.
    pub fn written(
        &mut self,
        candidates: &[PageRange],
        question: Question,
        arm: bool,
        mut found: impl FnMut(Found),
    ) -> Result<(), Errno> {
        let asked = question.asked(arm);
        let mut report = |run: &PageRegion| {
            if let Some(written) = Found::new(run) {
                found(written);
            }
        };
        let mut candidates = candidates.iter().copied().peekable();
        while let Some(mut call) = candidates.next() {
            while let Some(next) = candidates.next_if(|next| next.start < call.end + WORTH_A_CALL) {
                call.end = next.end;
            }
            self.walk(call, asked, question == Question::HugeTlb, &mut report)?;
        }
        Ok(())
    }

    /// Arms the written pages of exactly this range.
    pub fn arm(&mut self, range: PageRange, question: Question) -> Result<(), Errno> {
        self.walk(range, question.asked(true), question == Question::HugeTlb, |_| {})
    }

    /// Whether there are marks in place of pages; changes nothing.
    pub fn has_marks(&mut self, range: PageRange) -> Result<bool, Errno> {
        let asked = PmScanArg {
            max_pages: 1,
            category_mask: sys::PAGE_IS_SWAPPED | sys::PAGE_IS_WRITTEN,
            category_inverted: sys::PAGE_IS_WRITTEN,
            return_mask: sys::PAGE_IS_SWAPPED,
            ..PmScanArg::default()
        };
        let mut found = false;
        self.walk(range, asked, false, |_| found = true)?;
        Ok(found)
    }

    /// The pages of `range` that are in memory, and whether they are huge; changes nothing.
    pub fn existing(&mut self, range: PageRange, mut each: impl FnMut(PageRange, bool)) -> Result<(), Errno> {
        let asked = PmScanArg {
            category_mask: sys::PAGE_IS_PRESENT,
            return_mask: sys::PAGE_IS_PRESENT | sys::PAGE_IS_HUGE,
            // The target's mmap(2) waits for a call that goes over more.
            max_pages: EXISTING_AT_ONCE,
            ..PmScanArg::default()
        };
        self.walk(range, asked, false, |run| {
            each(PageRange::new(run.start, run.end), run.categories & sys::PAGE_IS_HUGE != 0);
        })
    }

    /// Appends where `range` has pages, in memory or swapped out; what is only reserved costs nothing.
    pub fn there(&mut self, range: PageRange, there: &mut Vec<PageRange>) -> Result<(), Errno> {
        let asked = PmScanArg { category_anyof_mask: EXISTS, return_mask: EXISTS, ..PmScanArg::default() };
        self.walk(range, asked, false, |run| note_unarmed(there, run))
    }

    fn walk(
        &mut self,
        range: PageRange,
        asked: PmScanArg,
        whole: bool,
        mut each: impl FnMut(&PageRegion),
    ) -> Result<(), Errno> {
        let arming = asked.flags & sys::PM_SCAN_WP_MATCHING != 0;
        let mut from = range.start;
        while from < range.end {
            let pieces = if arming { &mut self.arming } else { &mut self.looking };
            let end = if whole { range.end } else { pieces.end(from, range.end) };
            self.turns.wait();
            let begun = Instant::now();
            let mut argument = PmScanArg {
                size: size_of::<PmScanArg>() as u64,
                start: from,
                end,
                vec: self.runs.as_mut_ptr() as u64,
                vec_len: self.runs.len() as u64,
                ..asked
            };
            // SAFETY: `argument` is the structure this ioctl reads and writes, and its `vec` points to
            // `vec_len` entries of the kernel's layout, which live in `self.runs` until after the call.
            let answer = unsafe { sys::ioctl_pagemap_scan(self.file.as_raw_fd(), &mut argument) };
            let took = begun.elapsed();
            self.turns.took(took);
            answers(&mut self.runs, PageRange::new(from, end), &mut each);
            if let Err(errno) = answer {
                self.refused = PageRange::new(from, end);
                return Err(errno);
            }
            pieces.took(argument.walk_end.saturating_sub(from), took);
            // No progress would mean asking the same for ever.
            if argument.walk_end <= from {
                return Err(Errno::EIO);
            }
            from = argument.walk_end;
        }
        Ok(())
    }
}

/// Decodes `bytes` as if they were the kernel's answer to a scan of some middle part of the address space.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(bytes: &[u8]) {
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_ne_bytes);
    let mut runs: Vec<PageRegion> = bytes
        .chunks_exact(24)
        .map(|entry| PageRegion {
            start: word(&entry[..8]),
            end: word(&entry[8..16]),
            categories: word(&entry[16..]),
        })
        .collect();
    let asked = PageRange::new(1 << 20, 1 << 40);
    let (mut unarmed, mut written) = (Vec::new(), Vec::new());
    answers(&mut runs, asked, |run| {
        note_unarmed(&mut unarmed, run);
        written.extend(Found::new(run).map(|found| found.range));
    });
    super::range::merge(&mut written);
    for ranges in [&unarmed, &written] {
        assert!(ranges.iter().all(|range| range.intersection(&asked) == Some(*range)));
    }
    assert!(written.is_sorted_by(|one, next| one.end < next.start));
    assert!(super::range::pages(&written, 4096) <= asked.pages(4096));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::capture::probe::Scratch;
    use crate::capture::range::merge;
    use crate::capture::uffd::{UffdCapability, UffdFeatureFlags, UffdIoctlMode, UserfaultFd};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn however_little_fits_into_one_answer_nothing_is_lost(
            room in 1usize..6,
            written in prop::collection::btree_set(0usize..Scratch::PAGES, 0..60),
        ) {
            let scratch = Scratch::new().expect("mapped");
            scratch.write_each_page();
            let uffd = UserfaultFd::create(UffdFeatureFlags::ASYNC_RUNG).expect("created");
            uffd.register(scratch.range(), UffdIoctlMode::WriteProtect).expect("registered");
            let mut pagemap = Pagemap::with_capacity(File::open("/proc/self/pagemap").expect("opened"), room);
            let mut window = || {
                let (mut unarmed, mut found) = (Vec::new(), Vec::new());
                pagemap.unarmed(scratch.range(), &mut unarmed).expect("scanned");
                pagemap.written(&unarmed, Question::Anonymous, true, |run| found.push(run.range)).expect("scanned");
                found
            };
            let mut first = window();
            merge(&mut first);
            prop_assert_eq!(first, vec![scratch.range()]);
            written.iter().for_each(|&page| scratch.write(page));
            let pages = |ranges: &[PageRange]| -> BTreeSet<usize> {
                let page = |address: u64| ((address - scratch.range().start) / scratch.page() as u64) as usize;
                ranges.iter().flat_map(|range| page(range.start)..page(range.end)).collect()
            };
            prop_assert_eq!(pages(&window()), written);
            prop_assert_eq!(window(), vec![]);
            // Protecting and unprotecting by hand: what is unprotected counts as written.
            uffd.write_protect(scratch.range(), false).expect("unprotected");
            prop_assert_eq!(pages(&window()).len(), Scratch::PAGES);
        }
    }

    #[test]
    fn what_is_there_is_found_in_a_reservation_of_terabytes() {
        const LENGTH: usize = 1 << 44;
        let flags = nix::libc::MAP_PRIVATE | nix::libc::MAP_ANONYMOUS | nix::libc::MAP_NORESERVE;
        // SAFETY: new memory of our own, of which single pages are written.
        let start = unsafe { nix::libc::mmap(std::ptr::null_mut(), LENGTH, 3, flags, -1, 0) };
        assert_ne!(start, nix::libc::MAP_FAILED);
        // SAFETY: how it is paged changes nothing about its content.
        unsafe { nix::libc::madvise(start, LENGTH, nix::libc::MADV_NOHUGEPAGE) };
        let range = PageRange::new(start as u64, start as u64 + LENGTH as u64);
        let page = sys::page_size();
        let written = [0, (1 << 43) / page + 7, LENGTH as u64 / page - 1];
        let expected =
            written.map(|at| PageRange::new(range.start + at * page, range.start + (at + 1) * page));
        for range in expected {
            // SAFETY: within what was mapped.
            unsafe { (range.start as *mut u8).write_volatile(1) };
        }
        let mut there = Vec::new();
        Pagemap::new(File::open("/proc/self/pagemap").expect("opened"))
            .there(range, &mut there)
            .expect("scanned");
        // SAFETY: what was mapped above, once.
        unsafe { nix::libc::munmap(start, LENGTH) };
        assert_eq!(there, expected);
    }
}
