//! Pixels into a client's shared memory.

#![allow(unsafe_code)]

use smithay::reexports::wayland_server::protocol::wl_buffer::WlBuffer;
use smithay::reexports::wayland_server::protocol::wl_shm;
use smithay::utils::{Buffer as BufferCoords, Size};
use smithay::wayland::shm::{BufferData, with_buffer_contents, with_buffer_contents_mut};

/// The bytes of a pixel, in every format that is offered.
pub(super) const PIXEL: usize = 4;

/// Whether the buffer is shared memory of this size and format.
pub(super) fn fits(buffer: &WlBuffer, size: Size<i32, BufferCoords>, format: wl_shm::Format) -> bool {
    with_buffer_contents(buffer, |_, length, data| rows(&data, size, format, length).is_some())
        .unwrap_or(false)
}

/// Copies the pixels, which lie row after row without gaps. Returns whether they fit.
pub(super) fn fill(
    buffer: &WlBuffer,
    size: Size<i32, BufferCoords>,
    format: wl_shm::Format,
    pixels: &[u8],
) -> bool {
    let copied = with_buffer_contents_mut(buffer, |memory, length, data| {
        let Some(Rows { offset, stride, width, height }) = rows(&data, size, format, length) else {
            return false;
        };
        if pixels.len() < width * height {
            return false;
        }
        for (row, from) in pixels.chunks_exact(width).take(height).enumerate() {
            // SAFETY: `rows` has checked that row `height - 1` ends within the `length` bytes at `memory`, which smithay keeps mapped
            // and writable during this call; another process may write there too, so it is only ever a raw pointer.
            unsafe {
                std::ptr::copy_nonoverlapping(from.as_ptr(), memory.add(offset + row * stride), width);
            }
        }
        true
    });
    copied.unwrap_or(false)
}

/// Where the rows of a buffer lie, bytes.
#[derive(Debug, PartialEq, Eq)]
struct Rows {
    offset: usize,
    stride: usize,
    width: usize,
    height: usize,
}

fn rows(
    data: &BufferData,
    size: Size<i32, BufferCoords>,
    format: wl_shm::Format,
    length: usize,
) -> Option<Rows> {
    if data.format != format || (data.width, data.height) != (size.w, size.h) {
        return None;
    }
    let number = |value: i32| usize::try_from(value).ok();
    let (offset, stride) = (number(data.offset)?, number(data.stride)?);
    let (width, height) = (number(size.w)?.checked_mul(PIXEL)?, number(size.h)?);
    let end = height.checked_sub(1)?.checked_mul(stride)?.checked_add(offset)?.checked_add(width)?;
    (width > 0 && stride >= width && end <= length).then_some(Rows { offset, stride, width, height })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_is_too_small_or_of_another_kind_is_refused() {
        let good =
            BufferData { offset: 8, width: 3, height: 2, stride: 16, format: wl_shm::Format::Xrgb8888 };
        let fits = |data: &BufferData, length| rows(data, (3, 2).into(), wl_shm::Format::Xrgb8888, length);
        assert_eq!(fits(&good, 36), Some(Rows { offset: 8, stride: 16, width: 12, height: 2 }));
        assert_eq!(fits(&good, 35), None, "the last row ends behind the pool");
        for bad in [
            BufferData { stride: 11, ..good },
            BufferData { stride: -16, ..good },
            BufferData { offset: -1, ..good },
            BufferData { width: 4, ..good },
            BufferData { height: 3, ..good },
            BufferData { format: wl_shm::Format::Rgb565, ..good },
            BufferData { stride: i32::MAX, offset: i32::MAX, ..good },
        ] {
            assert_eq!(fits(&bad, 36), None, "{bad:?}");
        }
    }
}
