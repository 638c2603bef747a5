//! One master tile, and the others in a row beside it. Pure geometry.

use serde::{Deserialize, Serialize};
use smithay::utils::{Logical, Point, Rectangle, Size};

/// On which side of its area the master tile is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MasterSide {
    /// At the left of a wide area, at the top of a tall one.
    #[default]
    Auto,
    /// At the left.
    Left,
    /// At the right.
    Right,
    /// At the top.
    Top,
    /// At the bottom.
    Bottom,
}

/// How an area is divided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Tiling {
    /// Pixels between two tiles.
    pub(crate) gap: i32,
    /// The master's share of the length, 0..1.
    pub(crate) ratio: f64,
    pub(crate) side: MasterSide,
}

/// The tiles for `count` windows, the master first. In an area of fewer pixels than windows they lie over each other.
pub(crate) fn tiles(
    area: Rectangle<i32, Logical>,
    count: usize,
    tiling: &Tiling,
) -> Vec<Rectangle<i32, Logical>> {
    let (Size { w, h, .. }, stacked) = (area.size, count.saturating_sub(1));
    let side = match tiling.side {
        MasterSide::Auto if w >= h => MasterSide::Left,
        MasterSide::Auto => MasterSide::Top,
        side => side,
    };
    let along = matches!(side, MasterSide::Left | MasterSide::Right);
    let (length, across) = if along { (w, h) } else { (h, w) };
    let fits = length >= 2 && i32::try_from(stacked).is_ok_and(|stacked| across >= stacked);
    if count < 2 || !fits {
        return vec![area; count];
    }
    let gap = tiling.gap.clamp(0, length - 2);
    let usable = length - gap;
    let master = ((f64::from(usable) * tiling.ratio).round() as i32).clamp(1, usable - 1);
    let rest = usable - master;
    let first = matches!(side, MasterSide::Left | MasterSide::Top);
    let (master_at, rest_at) = if first { (0, master + gap) } else { (rest + gap, 0) };
    let rectangle = |at: i32, long: i32, cross: i32, wide: i32| {
        let (x, y, w, h) = if along { (at, cross, long, wide) } else { (cross, at, wide, long) };
        Rectangle::new(area.loc + Point::from((x, y)), Size::from((w, h)))
    };
    let stack = spans(across, stacked, tiling.gap)
        .into_iter()
        .map(|(cross, wide)| rectangle(rest_at, rest, cross, wide));
    std::iter::once(rectangle(master_at, master, 0, across)).chain(stack).collect()
}

/// Divides a length into `count` pieces as equal as pixels allow: where each begins, and how long it is. A gap that would leave
/// nothing of them is made smaller.
fn spans(length: i32, count: usize, gap: i32) -> Vec<(i32, i32)> {
    let n = i64::try_from(count).unwrap_or(i64::MAX).max(1);
    let length = i64::from(length);
    let gap = i64::from(gap).min(if n > 1 { (length - n) / (n - 1) } else { 0 }).max(0);
    let usable = length - gap * (n - 1);
    (0..n)
        .map(|i| {
            let (from, to) = (usable * i / n, usable * (i + 1) / n);
            ((from + gap * i) as i32, (to - from) as i32)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rectangle(x: i32, y: i32, w: i32, h: i32) -> Rectangle<i32, Logical> {
        Rectangle::new(Point::from((x, y)), Size::from((w, h)))
    }

    fn tiling(gap: i32, ratio: f64, side: MasterSide) -> Tiling {
        Tiling { gap, ratio, side }
    }

    #[test]
    fn common_areas() {
        let wide = rectangle(0, 0, 1000, 600);
        assert_eq!(tiles(wide, 0, &tiling(0, 0.5, MasterSide::Auto)), []);
        assert_eq!(tiles(wide, 1, &tiling(20, 0.5, MasterSide::Auto)), [wide], "one has everything");
        assert_eq!(
            tiles(wide, 3, &tiling(10, 0.6, MasterSide::Auto)),
            [rectangle(0, 0, 594, 600), rectangle(604, 0, 396, 295), rectangle(604, 305, 396, 295)]
        );
        assert_eq!(
            tiles(wide, 2, &tiling(0, 0.7, MasterSide::Right)),
            [rectangle(300, 0, 700, 600), rectangle(0, 0, 300, 600)]
        );
        let tall = rectangle(100, 0, 500, 900);
        assert_eq!(
            tiles(tall, 3, &tiling(0, 0.5, MasterSide::Auto)),
            [rectangle(100, 0, 500, 450), rectangle(100, 450, 250, 450), rectangle(350, 450, 250, 450)]
        );
        assert_eq!(
            tiles(tall, 2, &tiling(0, 0.5, MasterSide::Bottom)),
            [rectangle(100, 450, 500, 450), rectangle(100, 0, 500, 450)]
        );
    }

    fn side() -> impl Strategy<Value = MasterSide> {
        prop_oneof![
            Just(MasterSide::Auto),
            Just(MasterSide::Left),
            Just(MasterSide::Right),
            Just(MasterSide::Top),
            Just(MasterSide::Bottom)
        ]
    }

    proptest! {
        #[test]
        fn tiles_cover_the_area_and_never_overlap(
            x in -100..100i32, y in -100..100i32, w in 40..4000i32, h in 40..4000i32,
            n in 1..9usize, gap in 0..60i32, ratio in 0.05..0.95f64, side in side(),
        ) {
            let area = rectangle(x, y, w, h);
            let gapless = tiles(area, n, &tiling(0, ratio, side));
            let total: i64 = gapless.iter().map(|t| i64::from(t.size.w) * i64::from(t.size.h)).sum();
            prop_assert_eq!(total, i64::from(w) * i64::from(h));
            for tiles in [gapless, tiles(area, n, &tiling(gap, ratio, side))] {
                prop_assert_eq!(tiles.len(), n);
                for (i, a) in tiles.iter().enumerate() {
                    prop_assert!(a.size.w > 0 && a.size.h > 0 && area.contains_rect(*a));
                    for b in &tiles[i + 1..] {
                        prop_assert!(!a.overlaps(*b));
                    }
                }
            }
        }

        #[test]
        fn there_is_a_gap_between_any_two_tiles_and_none_at_the_edges(
            w in 1000..4000i32, h in 1000..4000i32, n in 2..7usize, gap in 1..40i32, side in side(),
        ) {
            let area = rectangle(0, 0, w, h);
            let tiles = tiles(area, n, &tiling(gap, 0.5, side));
            for (i, a) in tiles.iter().enumerate() {
                let mut grown = *a;
                grown.loc -= Point::from((gap, gap));
                grown.size += Size::from((2 * gap, 2 * gap));
                prop_assert!(tiles.iter().enumerate().all(|(j, b)| i == j || !grown.overlaps(*b)));
            }
            let edge = |far: fn(&Rectangle<i32, Logical>) -> i32| tiles.iter().map(far).max();
            prop_assert_eq!(edge(|tile| tile.loc.x + tile.size.w), Some(w));
            prop_assert_eq!(edge(|tile| tile.loc.y + tile.size.h), Some(h));
            prop_assert_eq!(tiles.iter().map(|tile| tile.loc.x).min(), Some(0));
            prop_assert_eq!(tiles.iter().map(|tile| tile.loc.y).min(), Some(0));
        }
    }
}
