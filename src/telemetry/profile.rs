//! What was written along the line, in a few bins.

use crate::capture::PageRange;
use crate::map::AddressLayout;

/// Adds to each of the `bins`, into which the line is cut evenly, the share of it that is in `written`, 0..1.
///
/// With 4^k bins, bin d is cell d of the Hilbert curve of order k.
pub fn profile(layout: &AddressLayout, written: &[PageRange], bins: &mut [f32]) {
    let pages = layout.pages();
    if pages == 0 {
        return;
    }
    let scale = bins.len() as f64 / pages as f64;
    for range in written {
        for places in layout.places(range.start..range.end) {
            let (from, to) = (places.start as f64 * scale, places.end as f64 * scale);
            let (first, last) = (from as usize, (to.ceil() as usize).min(bins.len()));
            for (index, bin) in bins[first..last].iter_mut().enumerate() {
                let left = (first + index) as f64;
                *bin += (to.min(left + 1.0) - from.max(left)) as f32;
            }
        }
    }
    // Rounding may leave a full bin a few ulps over one.
    bins.iter_mut().for_each(|share| *share = share.clamp(0.0, 1.0));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_shares_add_up_to_what_was_written(pages in 1u64..5000, first in 0u64..5000, count in 1u64..5000, order in 1u32..6) {
            let layout = AddressLayout::new(4096, std::iter::once(0..pages * 4096));
            let mut bins = vec![0.0; 1 << (2 * order)];
            profile(&layout, &[PageRange::new(first * 4096, (first + count) * 4096)], &mut bins);
            let written = (first + count).min(pages).saturating_sub(first);
            let sum: f64 = bins.iter().map(|share| f64::from(*share)).sum::<f64>() / bins.len() as f64;
            prop_assert!((sum - written as f64 / pages as f64).abs() < 1e-4, "{}", sum);
        }
    }
}
