//! The `.npz` form of a recording, from a file that anybody may have made.

use std::fmt::Display;
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

/// What integers of each width become.
trait Integer:
    TryFrom<i8>
    + TryFrom<i16>
    + TryFrom<i32>
    + TryFrom<i64>
    + TryFrom<u8>
    + TryFrom<u16>
    + TryFrom<u32>
    + TryFrom<u64>
{
}

impl Integer for i32 {}
impl Integer for i64 {}

/// Reads an array of integers, of whatever width, sign and order of bytes.
fn array<T: Integer, D: Dimension>(
    zip: &mut ZipArchive<impl Read + Seek>,
    name: &str,
) -> Result<Vec<T>, String> {
    let wrong = |what: &dyn Display| format!("array {name}: {what}");
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
    let kind = element(aligned, header);
    let numbers = match kind.as_slice() {
        b"i1" => numbers::<i8, T, D>(aligned),
        b"i2" => numbers::<i16, T, D>(aligned),
        b"i4" => numbers::<i32, T, D>(aligned),
        b"u1" => numbers::<u8, T, D>(aligned),
        b"u2" => numbers::<u16, T, D>(aligned),
        b"u4" => numbers::<u32, T, D>(aligned),
        b"u8" => numbers::<u64, T, D>(aligned),
        // What is no integer is refused as none of these.
        _ => numbers::<i64, T, D>(aligned),
    };
    numbers.map_err(|error| wrong(&error))
}

/// The kind and width of the elements by the header, `i8` say; where their bytes are in the other order, the
/// array is turned round. Only a guess: the view looks at the header again.
fn element(array: &mut [u8], header: usize) -> Vec<u8> {
    let (text, content) = array.split_at_mut(header.min(array.len()));
    let key = b"descr";
    let is_quote = |byte: &u8| matches!(byte, b'\'' | b'"');
    let Some(behind) = text.windows(key.len()).position(|word| word == key).map(|at| at + key.len() + 1)
    else {
        return Vec::new();
    };
    let value = text.get_mut(behind..).unwrap_or_default().splitn_mut(3, is_quote).nth(1);
    let Some([order, kind @ ..]) = value else { return Vec::new() };
    let width = match kind {
        [_, width @ b'1'..=b'8'] => usize::from(*width - b'0'),
        _ => 1,
    };
    if *order == b'>' {
        *order = b'<';
        content.chunks_exact_mut(width).for_each(<[u8]>::reverse);
    }
    kind.to_vec()
}

/// The numbers of an array of `S`.
fn numbers<S, T, D>(array: &[u8]) -> Result<Vec<T>, String>
where
    S: ViewElement + Copy + Display,
    T: TryFrom<S>,
    D: Dimension,
{
    let view = ArrayView::<S, D>::view_npy(array).map_err(|error| error.to_string())?;
    if view.len().saturating_mul(size_of::<T>()) > MAX_BYTES {
        return Err(format!("its numbers take more than {} MiB", MAX_BYTES >> 20));
    }
    let number = |number: &S| T::try_from(*number).map_err(|_| format!("{number} is out of range"));
    view.iter().map(number).collect()
}
