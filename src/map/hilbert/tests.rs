//! Every way of doing the curve against every other, and against the textbook.

use proptest::prelude::*;

use super::*;

/// The textbook's recursion, quadrant by quadrant, written from the picture of the curve.
fn textbook(order: u32, index: u32) -> (u32, u32) {
    if order == 0 {
        return (0, 0);
    }
    let half = 1u32 << (order - 1);
    let quarter = 1 << (2 * (order - 1));
    let (x, y) = textbook(order - 1, index % quarter);
    match index / quarter {
        0 => (y, x),
        1 => (x, y + half),
        2 => (x + half, y + half),
        _ => (2 * half - 1 - y, half - 1 - x),
    }
}

/// The curve of `order` by each path that this CPU has.
fn paths(order: u32) -> impl Iterator<Item = HilbertCurve> {
    HilbertPath::ALL.into_iter().filter_map(move |path| HilbertCurve::with_path(order, path).ok())
}

/// Each single-cell way of decoding and of encoding, by name.
#[expect(clippy::type_complexity, reason = "a table of functions, read right below")]
const SINGLE: [(&str, fn(u32, u32) -> (u32, u32), fn(u32, u32, u32) -> u32); 2] = [
    ("Skilling", skilling::decode, skilling::encode),
    (
        "arithmetic",
        |order, index| bits::decode(index, bits::levels(order)),
        |order, x, y| bits::encode(x, y, bits::levels(order)),
    ),
];

fn last_index(order: u32) -> u32 {
    u32::MAX >> (32 - 2 * order)
}

/// Columns by one path, of indices in any position in memory.
fn decode(curve: &HilbertCurve, indices: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let (mut xs, mut ys) = (vec![u32::MAX; indices.len()], vec![u32::MAX; indices.len()]);
    curve.d2xy_batch(indices, &mut xs, &mut ys);
    (xs, ys)
}

fn encode(curve: &HilbertCurve, xs: &[u32], ys: &[u32]) -> Vec<u32> {
    let mut indices = vec![u32::MAX; xs.len()];
    curve.xy2d_batch(xs, ys, &mut indices);
    indices
}

#[test]
fn the_paths_that_were_tested_are_named() {
    let (run, left): (Vec<_>, Vec<_>) = HilbertPath::ALL.into_iter().partition(|path| path.is_available());
    let names =
        |paths: Vec<HilbertPath>| paths.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    println!(
        "Hilbert paths tested on this CPU: {}; not there: [{}]",
        names(run.clone()),
        names(left.clone())
    );
    assert!(run.contains(&HilbertPath::Portable));
    assert_eq!(HilbertCurve::try_new(8).unwrap().path(), run[0], "the fastest is chosen");
    for path in left {
        let refusal = HilbertCurve::with_path(8, path).unwrap_err();
        assert_eq!(refusal, CurveError::Path(path));
        assert!(refusal.to_string().contains(&path.to_string()));
    }
}

#[test]
fn every_cell_of_every_way_is_the_textbooks_up_to_order_9() {
    for order in MIN_ORDER..=9 {
        let indices: Vec<u32> = (0..=last_index(order)).collect();
        let cells: Vec<_> = indices.iter().map(|index| textbook(order, *index)).collect();
        for (name, decode, encode) in SINGLE {
            for (index, cell) in indices.iter().zip(&cells) {
                assert_eq!(decode(order, *index), *cell, "{name}, order {order}, index {index}");
                assert_eq!(encode(order, cell.0, cell.1), *index, "{name}, order {order}, cell {cell:?}");
            }
        }
        for curve in paths(order) {
            let (xs, ys) = decode(&curve, &indices);
            let found: Vec<_> = xs.iter().copied().zip(ys.iter().copied()).collect();
            assert!(found == cells, "{}, order {order}", curve.path());
            assert!(encode(&curve, &xs, &ys) == indices, "{}, order {order}", curve.path());
        }
    }
}

#[test]
fn every_order_is_a_bijection_of_neighbours_on_every_path() {
    for order in MIN_ORDER..=10 {
        for curve in paths(order) {
            let indices: Vec<u32> = (0..=last_index(order)).collect();
            let (xs, ys) = decode(&curve, &indices);
            let mut seen = vec![false; indices.len()];
            for (x, y) in xs.iter().zip(&ys) {
                assert!(*x < curve.size() && *y < curve.size());
                let at = (y << order | x) as usize;
                assert!(!std::mem::replace(&mut seen[at], true), "{}, order {order}: twice", curve.path());
            }
            for at in 1..xs.len() {
                assert_eq!(xs[at].abs_diff(xs[at - 1]) + ys[at].abs_diff(ys[at - 1]), 1);
            }
        }
    }
}

#[test]
fn the_ends_lie_where_the_textbook_puts_them() {
    for order in MIN_ORDER..=MAX_CURVE_ORDER {
        for curve in paths(order) {
            let (xs, ys) = decode(&curve, &[0, last_index(order)]);
            assert_eq!((xs, ys), (vec![0, curve.size() - 1], vec![0, 0]), "{}, order {order}", curve.path());
        }
        for (name, decode, _) in SINGLE {
            assert_eq!(decode(order, 0), (0, 0), "{name}");
            assert_eq!(decode(order, last_index(order)), ((1 << order) - 1, 0), "{name}, order {order}");
        }
    }
}

proptest! {
    /// Indices of any order; any number of them, from any position in memory.
    #[test]
    fn every_way_agrees_with_the_oracle(
        order in MIN_ORDER..=MAX_CURVE_ORDER,
        seeds in prop::collection::vec(any::<u32>(), 0..200),
        skipped in 0usize..9,
    ) {
        let indices: Vec<u32> = seeds.iter().map(|seed| seed & last_index(order)).collect();
        let indices = indices.get(skipped..).unwrap_or_default();
        let cells: Vec<_> = indices.iter().map(|index| textbook(order, *index)).collect();
        for (name, decode, encode) in SINGLE {
            for (index, cell) in indices.iter().zip(&cells) {
                prop_assert_eq!(decode(order, *index), *cell, "{}", name);
                prop_assert_eq!(encode(order, cell.0, cell.1), *index, "{}", name);
            }
        }
        for curve in paths(order) {
            let (xs, ys) = decode(&curve, indices);
            let found: Vec<_> = xs.iter().copied().zip(ys.iter().copied()).collect();
            prop_assert_eq!(&found, &cells, "{}", curve.path());
            prop_assert_eq!(&encode(&curve, &xs, &ys), &indices.to_vec(), "{}", curve.path());
            for (index, cell) in indices.iter().zip(&cells) {
                prop_assert_eq!(curve.d2xy(*index), *cell);
                prop_assert_eq!(curve.xy2d(cell.0, cell.1), *index);
            }
        }
    }

    #[test]
    fn a_step_along_the_curve_is_a_step_in_the_square(
        order in MIN_ORDER..=MAX_CURVE_ORDER,
        seeds in prop::collection::vec(any::<u32>(), 1..100),
    ) {
        let from: Vec<u32> = seeds.iter().map(|seed| seed % last_index(order)).collect();
        let to: Vec<u32> = from.iter().map(|index| index + 1).collect();
        for curve in paths(order) {
            let ((ax, ay), (bx, by)) = (decode(&curve, &from), decode(&curve, &to));
            for at in 0..from.len() {
                prop_assert_eq!(ax[at].abs_diff(bx[at]) + ay[at].abs_diff(by[at]), 1);
            }
        }
    }

    #[test]
    fn batches_write_all_of_their_columns_and_nothing_else(
        order in MIN_ORDER..=MAX_CURVE_ORDER, length in 0usize..100, offset in 0usize..20,
    ) {
        const UNTOUCHED: u32 = 0xdead_beef;
        for curve in paths(order) {
            let indices = vec![last_index(order); length];
            let (mut xs, mut ys) = (vec![UNTOUCHED; 120], vec![UNTOUCHED; 120]);
            let inside = offset..offset + length;
            curve.d2xy_batch(&indices, &mut xs[inside.clone()], &mut ys[inside.clone()]);
            for at in 0..120 {
                let expected = if inside.contains(&at) { (curve.size() - 1, 0) } else { (UNTOUCHED, UNTOUCHED) };
                prop_assert_eq!((xs[at], ys[at]), expected, "{} at {}", curve.path(), at);
            }
            let mut found = vec![UNTOUCHED; 120];
            curve.xy2d_batch(&xs[inside.clone()], &ys[inside.clone()], &mut found[inside.clone()]);
            for (at, found) in found.iter().enumerate() {
                let expected = if inside.contains(&at) { last_index(order) } else { UNTOUCHED };
                prop_assert_eq!(*found, expected, "{} at {}", curve.path(), at);
            }
        }
    }

    #[test]
    fn batches_ignore_the_bits_above_the_order(
        order in MIN_ORDER..=MAX_CURVE_ORDER,
        words in prop::collection::vec((any::<u32>(), any::<u32>()), 0..70),
    ) {
        let (wide_x, wide_y): (Vec<u32>, Vec<u32>) = words.into_iter().unzip();
        let within = |words: &[u32], mask: u32| words.iter().map(|word| word & mask).collect::<Vec<_>>();
        let side = bits::levels(order);
        for curve in paths(order) {
            prop_assert_eq!(decode(&curve, &wide_x), decode(&curve, &within(&wide_x, last_index(order))));
            prop_assert_eq!(
                encode(&curve, &wide_x, &wide_y),
                encode(&curve, &within(&wide_x, side), &within(&wide_y, side))
            );
        }
    }
}

#[test]
fn locality_holds_at_every_order_and_fails_where_it_must() {
    for order in MIN_ORDER..=9 {
        assert!(HilbertSkilling::new(order).verify_locality(3.0), "order {order}");
        assert!(HilbertCurve::new(order).verify_locality(3.0), "order {order}");
    }
    assert!(!HilbertSkilling::new(8).verify_locality(1.0), "only the direct neighbours lie within 1");
}

#[test]
fn an_order_out_of_range_is_an_error_with_the_range() {
    for order in [0, 13, u32::MAX] {
        let message = HilbertSkilling::try_new(order).unwrap_err().to_string();
        assert!(message.contains("from 1 to 12") && message.contains(&order.to_string()), "{message}");
    }
    for order in [0, 17, u32::MAX] {
        let message = HilbertCurve::try_new(order).unwrap_err().to_string();
        assert!(message.contains("from 1 to 16") && message.contains(&order.to_string()), "{message}");
    }
}

#[test]
#[should_panic(expected = "2 indices need columns of that length, not 2 and 1")]
fn columns_of_different_lengths_are_refused() {
    HilbertCurve::new(4).d2xy_batch(&[0, 1], &mut [0, 0], &mut [0]);
}

#[test]
fn the_automatic_order_is_the_largest_whose_cells_hold_a_page() {
    let config = HilbertConfig::default();
    for (pages, order) in
        [(0, 4), (1, 4), (255, 4), (256, 4), (1023, 4), (1024, 5), (16_384, 7), (16_383, 6), (u64::MAX, 12)]
    {
        assert_eq!(config.order_for(pages), order, "{pages} pages");
    }
    assert_eq!(HilbertConfig::fixed(6).unwrap().order_for(1 << 40), 6);
}
