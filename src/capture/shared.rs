//! Shared memory under watch: its first pages, and the marks beside them (`marks` says what for).

use nix::errno::Errno;

use super::marks::{self, Marks};
use super::range::{self, PageRange};
use super::region::{MemoryRegion, RegionKind};
use super::scan::{Pagemap, Question};

/// What is watched of it. All ranges are sorted and disjoint.
#[derive(Debug, Default)]
pub(super) struct SharedMemory {
    mapped: Vec<PageRange>,
    marks: Marks,
    /// Mappings without a file that the target has made since the last pass.
    fresh: Vec<PageRange>,
    /// Each mapping for itself, until the small ones of them are marked.
    unmarked: Vec<PageRange>,
}

/// Pages that came to be where there were no marks; they are armed now.
#[derive(Debug, Default)]
pub(super) struct FirstPages {
    /// The target has written them: nobody else could have put anything there to read.
    pub written: Vec<PageRange>,
    /// Read or written.
    pub unknown: Vec<PageRange>,
}

impl SharedMemory {
    /// These mappings are watched now, in place of those `before`, if there was a pass over them.
    pub fn follow(&mut self, watched: &[MemoryRegion], before: Option<&[MemoryRegion]>) {
        let marked = watched.iter().filter(|region| takes_marks(region));
        self.unmarked = marked.map(MemoryRegion::range).collect();
        self.mapped.clone_from(&self.unmarked);
        range::merge(&mut self.mapped);
        self.marks.keep(&self.mapped);
        if let Some(before) = before {
            let before: Vec<PageRange> = before.iter().map(MemoryRegion::range).collect();
            let own: Vec<PageRange> =
                watched.iter().filter(|region| region.is_own_shared()).map(MemoryRegion::range).collect();
            self.fresh.extend(range::subtract(&own, &before));
            range::merge(&mut self.fresh);
        }
    }

    /// These mappings have taken the places of others.
    pub fn strangers(&mut self, regions: &[MemoryRegion], places: &[PageRange]) {
        self.marks.forget(places);
        self.fresh.extend(regions.iter().filter(|region| region.is_own_shared()).map(MemoryRegion::range));
        range::merge(&mut self.fresh);
    }

    /// Arms the pages that came to be where there were no marks, and sets marks beside them; takes such memory out of the candidates.
    /// In the first pass, which meets everything, none is set ahead of where the target goes.
    pub fn meet(
        &mut self,
        pagemap: &mut Pagemap,
        candidates: &mut Vec<PageRange>,
        begun: bool,
    ) -> Result<FirstPages, Errno> {
        let unmarked = self.marks.missing(&range::intersect(candidates, &self.mapped));
        *candidates = range::subtract(candidates, &unmarked);
        let mut there = Vec::new();
        unless_moved(pagemap.written(&unmarked, Question::Shared, false, |found| there.push(found.range)))?;
        let touched = self.marks.missing(&marks::blocks(&there, &self.mapped));
        let mut ahead = if begun { self.marks.behind(&touched, &self.mapped) } else { Vec::new() };
        there.clear();
        for block in &touched {
            mark(pagemap, *block, &mut there)?;
        }
        self.marks.set(&touched);
        for block in self.marks.ahead() {
            let mut exists = false;
            let looked = pagemap.existing(block, |_, _| exists = true);
            if looked.is_ok() && exists {
                ahead.extend(self.marks.behind(&[block], &self.mapped));
                self.marks.touched(block);
            }
        }
        ahead.extend(self.marks.small(&std::mem::take(&mut self.unmarked)));
        range::merge(&mut ahead);
        for block in ahead.iter().flat_map(marks::split) {
            mark(pagemap, block, &mut there)?;
            self.marks.set_ahead(block);
        }
        range::merge(&mut there);
        let fresh = std::mem::take(&mut self.fresh);
        Ok(FirstPages { written: range::intersect(&there, &fresh), unknown: range::subtract(&there, &fresh) })
    }
}

/// Arms all of this, pages that do not exist yet included, and tells which were there.
fn mark(pagemap: &mut Pagemap, block: PageRange, there: &mut Vec<PageRange>) -> Result<(), Errno> {
    let asked = Question::SharedWithMarkers;
    unless_moved(pagemap.written(&[block], asked, true, |found| there.push(found.range)))
}

/// What is not registered any more has changed once more; the next reading of the table will say how.
fn unless_moved(answer: Result<(), Errno>) -> Result<(), Errno> {
    if answer == Err(Errno::EPERM) { Ok(()) } else { answer }
}

/// Whether marks tell anything in it.
fn takes_marks(region: &MemoryRegion) -> bool {
    region.is_shared() && region.kind() != RegionKind::HugeTlb
}
