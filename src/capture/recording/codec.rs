//! A window as bytes: some numbers, and sections of which each has a tag and a length.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::Damaged;
use super::numbers::{Bytes, put, put_text};
use super::weight::{self, Budget};
use crate::capture::{MemoryRegion, PageRange, ThreadWrites, Window, range};

/// The written ranges.
const WRITTEN: u64 = 1;
/// The table of regions, with whether it has changed.
const REGIONS: u64 = 2;
/// The ranges that were not armed; left out where all were.
const UNSEEN: u64 = 3;
/// Who wrote; left out where nobody is known to have.
const THREADS: u64 = 4;
/// Faults of a thread are kept in these parts of one.
const FAULT_PARTS: f64 = 256.0;

/// No instant is farther from the start, no window longer: 36 years.
pub(super) const MAX_TIME: u64 = 1 << 60;
/// No address is higher: page tables have five levels at most. What is mapped has no other bound, programs
/// reserve most of it.
const MAX_ADDRESS: u64 = 1 << 57;
/// No window has more written pages: 8 TiB of 4 KiB each, which is in memory, whatever is reserved.
const MAX_WRITTEN: u64 = 1 << 31;

/// No table has more regions: sixteen times what the kernel lets a process have, unless it is told otherwise.
const MAX_REGIONS: usize = 1 << 20;
/// In no window do more threads write: as many as a kernel runs at all unless it is told otherwise, twice.
pub(super) const MAX_THREADS: usize = 1 << 16;

/// What a window is encoded against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context {
    pub page_size: u64,
    /// The instant that offsets are counted from.
    pub origin: Instant,
}

/// Appends `window`; with the table `key`, whether or not it has changed, when there is one.
pub(super) fn encode(window: &Window, key: Option<&[MemoryRegion]>, context: Context, bytes: &mut Vec<u8>) {
    // Single events are not recorded.
    let Window {
        index,
        started,
        length,
        written,
        unseen,
        regions,
        writable_pages,
        active_threads,
        threads,
        ..
    } = window;
    for number in [
        *index,
        nanoseconds(started.saturating_duration_since(context.origin)),
        nanoseconds(*length),
        *writable_pages,
        u64::from(*active_threads),
    ] {
        put(bytes, number);
    }
    let mut content = Vec::with_capacity(4 * written.len() + 8);
    put_spans(&mut content, written, context.page_size);
    section(bytes, WRITTEN, &content);
    if !unseen.is_empty() {
        content.clear();
        put_spans(&mut content, unseen, context.page_size);
        section(bytes, UNSEEN, &content);
    }
    if !threads.is_empty() {
        content.clear();
        put_threads(&mut content, threads, context.page_size);
        section(bytes, THREADS, &content);
    }
    if let Some(table) = regions.as_deref().or(key) {
        content.clear();
        content.push(u8::from(regions.is_some()));
        put_regions(&mut content, table, context.page_size);
        section(bytes, REGIONS, &content);
    }
}

/// The window in `content`, and the table of regions if it says it, with whether that is a change.
pub(super) type Decoded = (Window, Option<(Arc<[MemoryRegion]>, bool)>);

pub(super) fn decode(content: &[u8], context: Context) -> Result<Decoded, Damaged> {
    let mut bytes = Bytes(content);
    let index = bytes.number()?;
    let started = time(bytes.number()?)?;
    let length = time(bytes.number()?)?;
    let mut window = Window {
        index,
        started: context.origin.checked_add(started).ok_or(Damaged("a time is out of range"))?,
        length,
        written: Vec::new(),
        unseen: Vec::new(),
        regions: None,
        writable_pages: bytes.number()?,
        active_threads: bytes.number_u32()?,
        threads: Vec::new(),
        forked: Vec::new(),
        events: Vec::new(),
        dropped: 0,
    };
    let mut budget = Budget::of_window();
    let mut table = None;
    while !bytes.is_empty() {
        let tag = bytes.number()?;
        let mut content = bytes.part()?;
        match tag {
            WRITTEN => {
                window.written = spans(&mut content, context.page_size, &mut budget)?;
                if range::pages(&window.written, context.page_size) > MAX_WRITTEN {
                    return Err(Damaged("more is written than any memory has"));
                }
            }
            UNSEEN => window.unseen = spans(&mut content, context.page_size, &mut budget)?,
            THREADS => window.threads = threads(&mut content, context.page_size, &mut budget)?,
            REGIONS => {
                let changed = content.number()? != 0;
                table = Some((regions(&mut content, context.page_size, &mut budget)?, changed));
            }
            _ => {}
        }
    }
    Ok((window, table))
}

pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(MAX_TIME).min(MAX_TIME)
}

/// A time as it is read.
pub(super) fn time(nanoseconds: u64) -> Result<Duration, Damaged> {
    (nanoseconds <= MAX_TIME)
        .then(|| Duration::from_nanos(nanoseconds))
        .ok_or(Damaged("a time is out of range"))
}

fn section(bytes: &mut Vec<u8>, tag: u64, content: &[u8]) {
    put(bytes, tag);
    put(bytes, content.len() as u64);
    bytes.extend_from_slice(content);
}

/// Sorted, disjoint spans: each as the pages between it and the one before, and its own.
fn put_spans(bytes: &mut Vec<u8>, ranges: &[PageRange], page_size: u64) {
    put(bytes, ranges.len() as u64);
    let mut at = 0;
    for PageRange { start, end } in ranges {
        put(bytes, start / page_size - at);
        put(bytes, (end - start) / page_size);
        at = end / page_size;
    }
}

/// Reads spans one after another.
struct Spans {
    at: u64,
    page_size: u64,
}

impl Spans {
    fn next(&mut self, bytes: &mut Bytes<'_>) -> Result<PageRange, Damaged> {
        let (gap, pages) = (bytes.number()?, bytes.number()?);
        let bounds = self.at.checked_add(gap).and_then(|start| Some((start, start.checked_add(pages)?)));
        let (start, end) = bounds.ok_or(Damaged("an address is out of range"))?;
        let start_address = start.checked_mul(self.page_size);
        let range = start_address.zip(end.checked_mul(self.page_size));
        let (from, to) =
            range.filter(|(_, to)| *to <= MAX_ADDRESS).ok_or(Damaged("an address is out of range"))?;
        if pages == 0 {
            return Err(Damaged("a range is empty"));
        }
        self.at = end;
        Ok(PageRange::new(from, to))
    }
}

fn spans(bytes: &mut Bytes<'_>, page_size: u64, budget: &mut Budget) -> Result<Vec<PageRange>, Damaged> {
    let count = count(bytes, 2)?;
    budget.take(weight::spans(count))?;
    let mut spans = Spans { at: 0, page_size };
    let mut ranges = Vec::with_capacity(count);
    for _ in 0..count {
        ranges.push(spans.next(bytes)?);
    }
    Ok(ranges)
}

/// A number of things of which each takes at least `least` bytes: never more than are there.
fn count(bytes: &mut Bytes<'_>, least: usize) -> Result<usize, Damaged> {
    let count = usize::try_from(bytes.number()?).map_err(|_| Damaged("a count is out of range"))?;
    (count <= bytes.0.len() / least).then_some(count).ok_or(Damaged("a count is past the end"))
}

/// Pages as their distance from the one before.
fn put_threads(bytes: &mut Vec<u8>, threads: &[ThreadWrites], page_size: u64) {
    put(bytes, threads.len() as u64);
    for ThreadWrites { tid, name, pages, faults } in threads {
        put(bytes, u64::from(*tid));
        put_text(bytes, name);
        put(bytes, (faults * FAULT_PARTS).round() as u64);
        put(bytes, pages.len() as u64);
        let mut at = 0;
        for page in pages {
            put(bytes, page / page_size - at);
            at = page / page_size;
        }
    }
}

fn threads(bytes: &mut Bytes<'_>, page_size: u64, budget: &mut Budget) -> Result<Vec<ThreadWrites>, Damaged> {
    const OUT_OF_RANGE: Damaged = Damaged("an address is out of range");
    let number = count(bytes, 4)?;
    if number > MAX_THREADS {
        return Err(Damaged("it has more threads than write in any window"));
    }
    let mut threads = Vec::with_capacity(number);
    for _ in 0..number {
        let tid = bytes.number_u32()?;
        let name: Arc<str> = bytes.text()?.into();
        let faults = bytes.number()? as f64 / FAULT_PARTS;
        let number = count(bytes, 1)?;
        budget.take(weight::thread(&name, number))?;
        let mut pages = Vec::with_capacity(number);
        let mut at = 0u64;
        for _ in 0..number {
            at = at.checked_add(bytes.number()?).ok_or(OUT_OF_RANGE)?;
            pages.push(at.checked_mul(page_size).ok_or(OUT_OF_RANGE)?);
        }
        threads.push(ThreadWrites { tid, name, pages, faults });
    }
    Ok(threads)
}

fn put_regions(bytes: &mut Vec<u8>, table: &[MemoryRegion], page_size: u64) {
    put(bytes, table.len() as u64);
    let mut at = 0;
    for region in table {
        put(bytes, region.start / page_size - at);
        put(bytes, (region.end - region.start) / page_size);
        at = region.end / page_size;
        put_text(bytes, &region.permissions);
        put(bytes, region.offset);
        put_text(bytes, &region.device);
        put(bytes, region.inode);
        bytes.push(u8::from(region.pathname.is_some()));
        put_text(bytes, region.pathname.as_deref().unwrap_or_default());
    }
}

fn regions(
    bytes: &mut Bytes<'_>,
    page_size: u64,
    budget: &mut Budget,
) -> Result<Arc<[MemoryRegion]>, Damaged> {
    let count = count(bytes, 8)?;
    if count > MAX_REGIONS {
        return Err(Damaged("it has more regions than any process"));
    }
    budget.take(weight::regions(count))?;
    let mut spans = Spans { at: 0, page_size };
    let mut table = Vec::with_capacity(count);
    for _ in 0..count {
        let range = spans.next(bytes)?;
        let permissions = bytes.text()?;
        let offset = bytes.number()?;
        let device = bytes.text()?;
        let inode = bytes.number()?;
        let named = bytes.number()? != 0;
        let name = bytes.text()?;
        budget.take(weight::texts(&permissions, &device, &name))?;
        let PageRange { start, end } = range;
        let pathname = named.then_some(name);
        table.push(MemoryRegion { start, end, permissions, offset, device, inode, pathname });
    }
    Ok(table.into())
}
