//! The `.npz` form of a recording, from a file that anybody may have made.

use std::io::{Read, Seek};

use ndarray::{ArrayView, Dimension, Ix0, Ix1};
use ndarray_npy::{ViewElement, ViewNpyExt as _};
use zip::ZipArchive;
use zip::result::ZipError;

use super::MAX_BYTES;

/// The most that the text before an array may take: NumPy's own is 118 bytes, and what it nests is parsed by recursion.
const MAX_HEADER: usize = 512;
/// "\x93NUMPY" and the version; what follows is the length of the text, in two bytes by version 1, later in four.
const LENGTH_AT: usize = 8;

/// Four arrays as they are in the file.
pub(super) struct Arrays {
    pub pages: i64,
    pub starts: Vec<i64>,
    pub offsets: Vec<i64>,
    pub places: Vec<i32>,
}

impl Arrays {
    /// Reads them, each in no more memory than the file has content for it; or says what is wrong.
    pub fn read(file: impl Read + Seek) -> Result<Self, String> {
        let mut zip = ZipArchive::new(file).map_err(|error| format!("no NPZ file: {error}"))?;
        Ok(Self {
            pages: array::<i64, Ix0>(&mut zip, "n_pages")?[0],
            starts: array::<i64, Ix1>(&mut zip, "window_start_ns")?,
            offsets: array::<i64, Ix1>(&mut zip, "offsets")?,
            places: array::<i32, Ix1>(&mut zip, "page_index")?,
        })
    }
}

fn array<T, D>(zip: &mut ZipArchive<impl Read + Seek>, name: &str) -> Result<Vec<T>, String>
where
    T: ViewElement + Clone,
    D: Dimension,
{
    let wrong = |what: &dyn std::fmt::Display| format!("array {name}: {what}");
    let mut entry = match zip.by_name(&format!("{name}.npy")) {
        Err(ZipError::FileNotFound) => return Err(wrong(&"there is none")),
        entry => entry.map_err(|error| wrong(&error))?,
    };
    // What the archive says of its size is only a word.
    let mut bytes = Vec::new();
    entry.by_ref().take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|error| wrong(&error))?;
    if bytes.len() > MAX_BYTES {
        return Err(wrong(&format_args!("it is larger than {} MiB", MAX_BYTES >> 20)));
    }
    let header = match bytes.get(6..LENGTH_AT + 4) {
        Some(&[1, _, l0, l1, ..]) => LENGTH_AT + 2 + usize::from(u16::from_le_bytes([l0, l1])),
        Some(&[_, _, l0, l1, l2, l3]) => LENGTH_AT + 4 + u32::from_le_bytes([l0, l1, l2, l3]) as usize,
        _ => return Err(wrong(&"it is cut off")),
    };
    if header > MAX_HEADER {
        return Err(wrong(&format_args!("its header has {header} bytes, more than {MAX_HEADER}")));
    }
    // A view takes its length from the bytes that are there, and wants them aligned; a copy would first take memory for all that
    // the header says.
    let mut words = vec![0u64; bytes.len().div_ceil(8)];
    let aligned = &mut bytemuck::cast_slice_mut(&mut words)[..bytes.len()];
    aligned.copy_from_slice(&bytes);
    drop(bytes);
    let view = ArrayView::<T, D>::view_npy(aligned).map_err(|error| wrong(&error))?;
    Ok(view.iter().cloned().collect())
}
