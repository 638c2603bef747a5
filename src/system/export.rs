//! A recording as a table for analysis: Apache Parquet, a row for each region and window.
//!
//! | column | type | meaning |
//! | --- | --- | --- |
//! | `time` | timestamp, ns, UTC | begin of the window |
//! | `window` | int64 | its number |
//! | `window_ns` | int64 | its length |
//! | `region_start`, `region_end` | int64 | the region's addresses, unsigned, the end not included |
//! | `region_kind` | string | `heap`, `stack`, `anonymous`, … |
//! | `region_name` | string, may be null | the file, or the kernel's name for it |
//! | `written_pages` | int64 | pages written in the window |
//! | `observed_pages` | int64 | pages of which that is known |
//! | `pages` | int64 | pages of the region |
//! | `threads` | int32 | threads of the process that ran in the window |

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use indicatif::ProgressBar;
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::memory;
use crate::capture::recording::Recording;
use crate::capture::{MemoryRegion, PageRange, Window};
use crate::plain::Plain;
use crate::whole_file::WholeFile;
use crate::{GlassRamError, Result};

/// Rows of a row group: readers hold one at a time.
const ROWS: usize = 1 << 17;
/// Or as many as have so many bytes of names.
const NAMES: usize = 16 << 20;

const SCHEMA: &str = "message memory_glass {
    required int64 time (TIMESTAMP(NANOS, true));
    required int64 window (INTEGER(64, false));
    required int64 window_ns;
    required int64 region_start (INTEGER(64, false));
    required int64 region_end (INTEGER(64, false));
    required binary region_kind (UTF8);
    optional binary region_name (UTF8);
    required int64 written_pages;
    required int64 observed_pages;
    required int64 pages;
    required int32 threads;
}";

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportReport {
    /// The table.
    pub file: PathBuf,
    /// Its rows.
    pub rows: u64,
    /// Windows that they are from.
    pub windows: u64,
}

/// Writes the recording at `from` as a table to `to`, which must not be there yet.
pub fn run(from: &Path, to: &Path) -> Result<ExportReport> {
    memory::give_back();
    let recording = Recording::open(from)?;
    let failed = |error: &dyn fmt::Display| GlassRamError::FeatureNotSupported {
        feature: format!("{} cannot be written ({error}): choose a place that can", to.display()),
    };
    // Asked before an hour of reading, and again when the table takes its place.
    if to.symlink_metadata().is_ok() {
        return Err(failed(&std::io::Error::from(std::io::ErrorKind::AlreadyExists)));
    }
    // A recording is its owner's only, and so is what is made of it.
    let file = WholeFile::begin(to).map(WholeFile::for_its_owner);
    let mut file = file.map_err(|error| failed(&error))?;
    let (rows, windows) = write(&recording, &mut file).map_err(|error| failed(&error))?;
    file.keep_new().map_err(|error| failed(&error))?;
    Ok(ExportReport { file: to.to_owned(), rows, windows })
}

fn write(recording: &Recording, file: &mut WholeFile) -> Result<(u64, u64), ParquetError> {
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_created_by(concat!("memory-glass ", env!("CARGO_PKG_VERSION")).into())
        .build();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties))?;
    let progress = ProgressBar::new(recording.end().as_millis() as u64);
    let (mut columns, mut rows, mut windows) = (Columns::default(), 0, 0);
    let mut regions: Arc<[MemoryRegion]> = Arc::default();
    for window in recording.cursor_at(Duration::ZERO) {
        if let Some(changed) = &window.regions {
            regions = Arc::clone(changed);
        }
        rows += regions.len() as u64;
        windows += 1;
        for region in regions.iter() {
            columns.push(recording, &window, region);
            if columns.time.len() >= ROWS || columns.name_bytes >= NAMES {
                columns.write(writer.next_row_group()?)?;
            }
        }
        progress.set_position(recording.offset(&window).as_millis() as u64);
    }
    if !columns.time.is_empty() {
        columns.write(writer.next_row_group()?)?;
    }
    writer.close()?;
    progress.finish_and_clear();
    Ok((rows, windows))
}

/// Rows that are not written yet, column by column.
#[derive(Default)]
struct Columns {
    time: Vec<i64>,
    window: Vec<i64>,
    window_ns: Vec<i64>,
    region_start: Vec<i64>,
    region_end: Vec<i64>,
    region_kind: Vec<ByteArray>,
    /// Those that are not null, and for every row whether it has one.
    region_name: Vec<ByteArray>,
    named: Vec<i16>,
    name_bytes: usize,
    written_pages: Vec<i64>,
    observed_pages: Vec<i64>,
    pages: Vec<i64>,
    threads: Vec<i32>,
}

impl Columns {
    fn push(&mut self, recording: &Recording, window: &Window, region: &MemoryRegion) {
        let info = recording.info();
        let page_size = info.target.page_size;
        let since_epoch = info.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = (since_epoch + recording.offset(window)).as_nanos() as i64;
        let pages = region.pages(page_size);
        self.time.push(time);
        self.window.push(window.index as i64);
        self.window_ns.push(window.length.as_nanos() as i64);
        self.region_start.push(region.start as i64);
        self.region_end.push(region.end as i64);
        self.region_kind.push(region.kind().to_string().as_str().into());
        self.name_bytes += region.pathname.as_ref().map_or(0, String::len);
        self.region_name.extend(region.pathname.as_deref().map(ByteArray::from));
        self.named.push(i16::from(region.pathname.is_some()));
        self.written_pages.push(pages_in(&window.written, region, page_size) as i64);
        self.observed_pages.push((pages - pages_in(&window.unseen, region, page_size)) as i64);
        self.pages.push(pages as i64);
        self.threads.push(window.active_threads as i32);
    }

    /// Writes them, in the order of the schema, and begins anew.
    fn write(&mut self, mut group: SerializedRowGroupWriter<'_, &mut WholeFile>) -> Result<(), ParquetError> {
        let Self { time, window, window_ns, region_start, region_end, .. } = &*self;
        for column in [time, window, window_ns, region_start, region_end] {
            numbers(&mut group, column)?;
        }
        texts(&mut group, &self.region_kind, None)?;
        texts(&mut group, &self.region_name, Some(&self.named))?;
        for column in [&self.written_pages, &self.observed_pages, &self.pages] {
            numbers(&mut group, column)?;
        }
        if let Some(mut column) = group.next_column()? {
            column.typed::<Int32Type>().write_batch(&self.threads, None, None)?;
            column.close()?;
        }
        group.close()?;
        *self = Self::default();
        Ok(())
    }
}

fn numbers(
    group: &mut SerializedRowGroupWriter<'_, &mut WholeFile>,
    values: &[i64],
) -> Result<(), ParquetError> {
    if let Some(mut column) = group.next_column()? {
        column.typed::<Int64Type>().write_batch(values, None, None)?;
        column.close()?;
    }
    Ok(())
}

fn texts(
    group: &mut SerializedRowGroupWriter<'_, &mut WholeFile>,
    values: &[ByteArray],
    present: Option<&[i16]>,
) -> Result<(), ParquetError> {
    if let Some(mut column) = group.next_column()? {
        column.typed::<ByteArrayType>().write_batch(values, present, None)?;
        column.close()?;
    }
    Ok(())
}

/// Pages of `region` that are in `ranges`, which are sorted and disjoint.
fn pages_in(ranges: &[PageRange], region: &MemoryRegion, page_size: u64) -> u64 {
    let first = ranges.partition_point(|range| range.end <= region.start);
    let inside = ranges[first..].iter().take_while(|range| range.start < region.end);
    inside.filter_map(|range| range.intersection(&region.range())).map(|both| both.pages(page_size)).sum()
}

impl fmt::Display for ExportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {} rows from {} windows", Plain(self.file.display()), self.rows, self.windows)
    }
}
