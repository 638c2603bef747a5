//! Recorded windows of a program: which pages of the line were written in each.
//!
//! The form is NumPy's `.npz` with the arrays `window_start_ns` (T), `page_index` (the written places of all
//! windows one after another), `offsets` (T + 1; window t has `page_index[offsets[t]..offsets[t + 1]]`) and
//! `n_pages` (scalar), each of integers of 1, 2, 4 or 8 bytes, signed or not, in either order; `vma_start`
//! and `vma_end` are not needed here. Windows without a write may be left out.
//!
//! Of a long line that is hardly written only the pages that ever are, and their neighbours, are taken ([`TouchedLine`]).

mod npz;

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use super::{PageSet, SensingError};
use crate::capture::recording::Recording;
use crate::capture::{MemoryRegion, PageRange, range};
use crate::map::{AddressLayout, TouchedLine};

/// The most that a trace and its replay may take in memory, with a bit for each page in each window: 25 minutes of a program of 900 MiB.
const MAX_BYTES: usize = 448 << 20;
/// What plan, solvers and scores keep of each page in a replay.
const OF_PAGE: usize = 160;
/// The longest line, pages.
const MAX_PAGES: usize = 1 << 31;

/// Windows of a program, each with the places on the line that were written in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteTrace {
    pages: usize,
    starts: Vec<Duration>,
    windows: Vec<PageSet>,
}

impl WriteTrace {
    /// A trace of `windows` on a line of `pages`, each with its start on a common clock.
    ///
    /// # Panics
    /// When a window is of another line.
    pub fn new(pages: usize, windows: impl IntoIterator<Item = (Duration, PageSet)>) -> Self {
        let (starts, windows): (Vec<_>, Vec<PageSet>) = windows.into_iter().unzip();
        assert!(windows.iter().all(|window| window.pages() == pages), "every window is of one line");
        Self { pages, starts, windows }
    }

    /// Reads the `.npz` form.
    pub fn read_npz(path: &Path) -> Result<Self, SensingError> {
        let unusable = |reason: String| SensingError::Trace { path: path.to_owned(), reason };
        let file = File::open(path).map_err(|error| unusable(error.to_string()))?;
        let npz::Arrays { pages, starts, offsets, places } =
            npz::Arrays::read(BufReader::new(file)).map_err(unusable)?;
        let pages = u64::try_from(pages).ok().filter(|pages| (1..=MAX_PAGES as u64).contains(pages));
        let pages = pages.ok_or_else(|| unusable("n_pages is not between 1 and 2^31".into()))?;
        if offsets.len() != starts.len() + 1 {
            return Err(unusable(format!(
                "{} windows need {} offsets, there are {}",
                starts.len(),
                starts.len() + 1,
                offsets.len()
            )));
        }
        let mut of_windows = Vec::with_capacity(starts.len());
        let mut touched = Vec::new();
        for (index, bounds) in offsets.windows(2).enumerate() {
            let bounds = usize::try_from(bounds[0]).ok().zip(usize::try_from(bounds[1]).ok());
            let written = bounds.and_then(|(from, to)| places.get(from..to));
            let written =
                written.ok_or_else(|| unusable(format!("window {index} has offsets out of range")))?;
            for place in written {
                match u64::try_from(*place).ok().filter(|place| *place < pages) {
                    Some(place) => touched.push(page(place)),
                    None => return Err(unusable(format!("window {index} has page {place} of {pages}"))),
                }
            }
            of_windows.push(written);
        }
        range::merge(&mut touched);
        let line = part(&AddressLayout::new(PAGE, std::iter::once(0..pages * PAGE)), &touched);
        let pages = line.pages() as usize;
        fits(path, pages, starts.len())?;
        let windows = of_windows.into_iter().map(|written| {
            let places = written.iter().filter_map(|place| line.page_of(page(*place as u64).start));
            PageSet::of(pages, places.map(|place| place as usize))
        });
        let windows = windows.collect();
        let starts = starts.iter().map(|ns| Duration::from_nanos((*ns).max(0) as u64)).collect();
        Ok(Self { pages, starts, windows })
    }

    /// Takes a recording of `memory-glass record`. The line is made of the pages that were ever under watch, in address order.
    pub fn read_recording(path: &Path) -> Result<Self, SensingError> {
        let unusable = |reason: String| SensingError::Trace { path: path.to_owned(), reason };
        let recording = Recording::open(path).map_err(|error| unusable(error.to_string()))?;
        let page_size = recording.info().target.page_size;
        let (mut regions, mut touched): (Vec<PageRange>, Vec<PageRange>) = (Vec::new(), Vec::new());
        let mut count = 0;
        let mut known = TouchedLine::new(page_size);
        for window in recording.cursor_at(Duration::ZERO) {
            count += 1;
            if let Some(table) = &window.regions {
                regions.extend(table.iter().map(MemoryRegion::range));
                range::merge(&mut regions);
                few(path, &regions)?;
            }
            few(path, &window.written)?;
            if known.touch(&window.written) {
                touched.extend_from_slice(&window.written);
                range::merge(&mut touched);
                few(path, &touched)?;
            }
        }
        let line = AddressLayout::new(page_size, regions.iter().map(|region| region.start..region.end));
        let line = part(&line, &touched);
        let pages = usize::try_from(line.pages()).unwrap_or(usize::MAX);
        if pages == 0 {
            return Err(unusable("no pages were under watch".into()));
        }
        fits(path, pages, count)?;
        let windows = recording.cursor_at(Duration::ZERO).map(|window| {
            let mut written = PageSet::empty(pages);
            for range in &window.written {
                for places in line.places(range.start..range.end) {
                    written.insert_range(places.start as usize..places.end as usize);
                }
            }
            (recording.offset(&window), written)
        });
        Ok(Self::new(pages, windows))
    }

    /// Length of the line.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// What was written in each window.
    pub fn windows(&self) -> &[PageSet] {
        &self.windows
    }

    /// Length of a window: the median time between starts (100 ms where there are fewer than two). A pause in which
    /// nothing was written is no longer window.
    pub fn window_length(&self) -> Duration {
        let mut steps: Vec<_> = self.starts.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
        steps.sort_unstable();
        match steps.get(steps.len() / 2) {
            Some(step) if !step.is_zero() => *step,
            _ => Duration::from_millis(100),
        }
    }
}

/// Whether so many stretches of memory may be taken together from the windows of a recording.
fn few(path: &Path, ranges: &[PageRange]) -> Result<(), SensingError> {
    /// 16 MiB of them, of which a line is made by way of several copies.
    const MOST: usize = 1 << 20;
    let reason = || format!("it has more than {MOST} stretches of memory: take a part of it");
    if ranges.len() <= MOST {
        return Ok(());
    }
    Err(SensingError::Trace { path: path.to_owned(), reason: reason() })
}

/// The size of a page where only its number is known.
const PAGE: u64 = 4096;

/// The page of this number.
fn page(number: u64) -> PageRange {
    PageRange::new(number * PAGE, (number + 1) * PAGE)
}

/// What is taken of a line on which these pages are ever written.
fn part(whole: &AddressLayout, written: &[PageRange]) -> AddressLayout {
    let mut touched = TouchedLine::new(whole.page_size());
    touched.touch(written);
    touched.follow(whole);
    touched.not_empty(whole);
    touched.layout().clone()
}

/// Whether so many windows of a line of `pages` may be taken into memory.
fn fits(path: &Path, pages: usize, windows: usize) -> Result<(), SensingError> {
    /// What a window takes that has no page.
    const LEAST: usize = 64;
    let of_windows = (pages.div_ceil(8) + LEAST).saturating_mul(windows);
    let bytes = of_windows.saturating_add(pages.saturating_mul(OF_PAGE));
    if bytes <= MAX_BYTES {
        return Ok(());
    }
    Err(SensingError::TraceTooLarge { path: path.to_owned(), pages, windows, bytes, most: MAX_BYTES })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// An array as NumPy writes it, with a header that says `shape`.
    fn npy(shape: &str, descr: &str, content: &[u8]) -> Vec<u8> {
        let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
        header.push_str(&" ".repeat((64 - (header.len() + 11) % 64) % 64));
        header.push('\n');
        let length = u16::try_from(header.len()).expect("short").to_le_bytes();
        [b"\x93NUMPY\x01\0", &length[..], header.as_bytes(), content].concat()
    }

    fn read(arrays: &[(&str, Vec<u8>)]) -> Result<WriteTrace, String> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let mut zip = zip::ZipWriter::new(file.reopen().expect("open"));
        for (name, content) in arrays {
            let how = zip::write::SimpleFileOptions::default();
            zip.start_file(format!("{name}.npy"), how)
                .and_then(|()| Ok(zip.write_all(content)?))
                .expect("written");
        }
        zip.finish().expect("written");
        WriteTrace::read_npz(file.path()).map_err(|error| {
            let text = error.to_string();
            text.split_once(": ").expect("the file, and what is wrong").1.to_owned()
        })
    }

    fn numbers(values: &[i64]) -> Vec<u8> {
        npy(&format!("({},)", values.len()), "<i8", bytemuck::cast_slice(values))
    }

    /// Two windows of a line of `pages`.
    fn arrays(pages: i64) -> [(&'static str, Vec<u8>); 4] {
        [
            ("n_pages", npy("()", "<i8", &pages.to_le_bytes())),
            ("window_start_ns", numbers(&[0, 100])),
            ("offsets", numbers(&[0, 1, 3])),
            ("page_index", npy("(3,)", "<i4", bytemuck::cast_slice(&[2, 0, 7]))),
        ]
    }

    #[test]
    fn an_archive_of_numpy_is_read() {
        let trace = read(&arrays(8)).expect("read");
        let windows = [PageSet::of(8, [2]), PageSet::of(8, [0, 7])];
        assert_eq!((trace.pages(), trace.windows()), (8, &windows[..]));
    }

    /// The same numbers as integers of another kind: sign and width, and the order of their bytes.
    fn as_kind(name: &str, values: &[i64], order: char, kind: &str) -> Vec<u8> {
        let width = usize::from(kind.as_bytes()[1] - b'0');
        let bytes = |value: &i64| {
            let mut bytes = value.to_le_bytes()[..width].to_vec();
            if order == '>' {
                bytes.reverse();
            }
            bytes
        };
        let shape = if name == "n_pages" { "()".into() } else { format!("({},)", values.len()) };
        npy(&shape, &format!("{order}{kind}"), &values.iter().flat_map(bytes).collect::<Vec<_>>())
    }

    #[test]
    fn integers_of_every_width_sign_and_order_are_the_same_numbers() {
        let content: [(&str, &[i64]); 4] = [
            ("n_pages", &[120]),
            ("window_start_ns", &[0, 100]),
            ("offsets", &[0, 1, 3]),
            ("page_index", &[2, 0, 117]),
        ];
        let expected =
            read(&content.map(|(name, values)| (name, as_kind(name, values, '<', "i8")))).expect("read");
        assert_eq!(expected.windows(), [PageSet::of(120, [2]), PageSet::of(120, [0, 117])]);
        for kind in ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"] {
            for order in if kind.ends_with('1') { ['|', '|'] } else { ['<', '>'] } {
                let arrays = content.map(|(name, values)| (name, as_kind(name, values, order, kind)));
                assert_eq!(read(&arrays), Ok(expected.clone()), "{order}{kind}");
            }
        }
    }

    #[test]
    fn numbers_beyond_a_line_and_elements_that_are_no_integers_are_refused() {
        let mut large = arrays(8);
        large[3].1 = as_kind("page_index", &[2, 0, -1], '<', "u4");
        let refused = |arrays: &[(&str, Vec<u8>)]| read(arrays).expect_err("refused");
        assert!(refused(&large).starts_with("array page_index: 4294967295 is out of range"));
        large[3].1 = as_kind("page_index", &[2, 0, 8], '>', "u2");
        assert!(refused(&large).starts_with("window 1 has page 8 of 8"));
        for kind in ["<f8", ">f8", "<c8", "|b1", "|O", "<U2", ">", ""] {
            large[3].1 = npy("(3,)", kind, &[0; 24]);
            assert!(refused(&large).starts_with("array page_index: "), "{kind}");
        }
    }

    #[test]
    fn a_line_that_would_fill_the_memory_is_refused() {
        // Pages far from each other, each with its neighbours.
        let mut large = arrays(1 << 31);
        let strewn: Vec<i32> = (0..32 << 10).map(|page| page << 16).collect();
        let windows = 32 << 10;
        large[1].1 = numbers(&vec![0; windows]);
        large[2].1 = numbers(&[vec![0; windows], vec![32 << 10]].concat());
        large[3].1 = npy("(32768,)", "<i4", bytemuck::cast_slice(&strewn));
        assert!(
            read(&large).expect_err("refused").starts_with("32768 windows of 262144 pages take 1066 MiB")
        );
    }

    #[test]
    fn a_long_line_takes_no_more_than_what_is_written_of_it() {
        let mut long = arrays(1 << 31);
        long[3].1 = npy("(3,)", "<i4", bytemuck::cast_slice(&[1 << 30, 5, i32::MAX]));
        let trace = read(&long).expect("read");
        let windows = [PageSet::of(24, [8]), PageSet::of(24, [5, 23])];
        assert_eq!((trace.pages(), trace.windows()), (24, &windows[..]));
    }

    #[test]
    fn an_array_takes_no_more_memory_than_its_file_has_content() {
        let mut endless = arrays(8);
        endless[3].1 = npy("(4611686018427387903,)", "<i4", &[0; 12]);
        assert!(read(&endless).expect_err("refused").starts_with("array page_index: "));
        let mut header = arrays(8);
        header[1].1 = [b"\x93NUMPY\x02\0", &u32::MAX.to_le_bytes()[..], &[b' '; 64]].concat();
        assert!(
            read(&header).expect_err("refused").contains("its header has 4294967307 bytes, more than 512")
        );
    }

    /// The header is parsed by recursion.
    #[test]
    fn a_header_that_nests_deeply_is_refused() {
        let mut nested = arrays(8);
        nested[2].1 = npy(&"(".repeat(60_000), "<i8", &[]);
        assert!(read(&nested).expect_err("refused").contains("more than 512"));
        nested[2].1 = npy(&"(".repeat(400), "<i8", &[]);
        assert!(read(&nested).expect_err("refused").starts_with("array offsets: "));
    }
}
