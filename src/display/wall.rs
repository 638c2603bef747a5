//! The geometry of several outputs: where they stand, how one mirrors another, and which part of a common map each shows. Pure.

use smithay::utils::{Logical, Physical, Point, Rectangle, Size};

use crate::render::Part;

/// An output that is to stand somewhere: where a person wants it, if they say so, and its size.
pub(crate) type Standing = (Option<Point<i32, Logical>>, Size<i32, Logical>);

/// Where each output stands, and whether it could not stand where it was wanted, because another one is there. Those without a wish
/// stand right of all others, one beside the other, tops aligned.
pub(crate) fn stand(outputs: &[Standing]) -> Vec<(Point<i32, Logical>, bool)> {
    let mut taken: Vec<Rectangle<i32, Logical>> = Vec::new();
    let mut places: Vec<Option<Point<i32, Logical>>> = vec![None; outputs.len()];
    for (place, (wish, size)) in places.iter_mut().zip(outputs) {
        let wished = wish.map(|at| Rectangle::new(at, *size));
        if let Some(wished) = wished.filter(|wished| !taken.iter().any(|other| other.overlaps(*wished))) {
            taken.push(wished);
            *place = Some(wished.loc);
        }
    }
    let mut right = taken.iter().map(|taken| taken.loc.x + taken.size.w).max().unwrap_or(0);
    let top = taken.iter().map(|taken| taken.loc.y).min().unwrap_or(0);
    let mut stands = Vec::with_capacity(outputs.len());
    for (place, (wish, size)) in places.into_iter().zip(outputs) {
        let at = place.unwrap_or_else(|| {
            let at = Point::from((right, top));
            right += size.w;
            at
        });
        stands.push((at, wish.is_some() && place.is_none()));
    }
    stands
}

/// How something of this size is shown on another display: as large as it fits, in the middle. Returns the scale and where its
/// upper left corner is.
pub(crate) fn fit(shown: Size<i32, Logical>, display: Size<i32, Physical>) -> (f64, Point<i32, Physical>) {
    let across = f64::from(display.w) / f64::from(shown.w.max(1));
    let down = f64::from(display.h) / f64::from(shown.h.max(1));
    let scale = across.min(down);
    let margin =
        |all: i32, used: i32| ((f64::from(all) - f64::from(used) * scale) / 2.0).floor().max(0.0) as i32;
    (scale, Point::from((margin(display.w, shown.w), margin(display.h, shown.h))))
}

/// Which part of a map over all of `areas` an output shows that has `area` of it, in pixels of that output.
pub(crate) fn part(area: Rectangle<i32, Logical>, areas: &[Rectangle<i32, Logical>], scale: f64) -> Part {
    let whole = areas.iter().fold(area, |whole, area| whole.merge(*area));
    let pixels = |length: i32| (f64::from(length) * scale).round().max(0.0) as u32;
    Part {
        whole: (pixels(whole.size.w), pixels(whole.size.h)),
        at: (pixels(area.loc.x - whole.loc.x), pixels(area.loc.y - whole.loc.y)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wishes_hold_unless_another_is_there_and_the_others_stand_to_the_right() {
        let size = Size::from((100, 50));
        let at = |x, y| Some(Point::from((x, y)));
        let stands =
            stand(&[(None, size), (at(0, 0), size), (at(50, 10), size), (at(100, -20), size), (None, size)]);
        let places: Vec<((i32, i32), bool)> =
            stands.into_iter().map(|(at, refused)| ((at.x, at.y), refused)).collect();
        assert_eq!(
            places,
            [
                ((200, -20), false),
                ((0, 0), false),
                ((300, -20), true),
                ((100, -20), false),
                ((400, -20), false)
            ]
        );
        assert_eq!(stand(&[(None, size), (None, size)])[1].0, Point::from((100, 0)));
    }

    #[test]
    fn a_mirror_is_as_large_as_it_fits() {
        let fit = |w, h, width, height| fit(Size::from((w, h)), Size::from((width, height)));
        assert_eq!(fit(1920, 1080, 1920, 1080), (1.0, Point::from((0, 0))));
        assert_eq!(fit(1920, 1080, 960, 600), (0.5, Point::from((0, 30))));
        assert_eq!(fit(100, 200, 400, 400), (2.0, Point::from((100, 0))));
    }

    proptest! {
        #[test]
        fn no_two_outputs_stand_in_each_others_way(
            outputs in prop::collection::vec((prop::option::of((-3000..3000i32, -3000..3000i32)), 1..3000i32, 1..3000i32), 0..6)
        ) {
            let outputs: Vec<Standing> =
                outputs.into_iter().map(|(at, w, h)| (at.map(Point::from), Size::from((w, h)))).collect();
            let stands = stand(&outputs);
            let all: Vec<Rectangle<i32, Logical>> =
                stands.iter().zip(&outputs).map(|((at, _), (_, size))| Rectangle::new(*at, *size)).collect();
            for (index, one) in all.iter().enumerate() {
                prop_assert!(all[..index].iter().all(|other| !other.overlaps(*one)));
                let (at, refused) = stands[index];
                prop_assert!(refused || outputs[index].0.is_none_or(|wish| wish == at));
            }
        }

        #[test]
        fn a_mirror_never_leaves_its_display(w in 1..8000i32, h in 1..8000i32, width in 1..8000i32, height in 1..8000i32) {
            let (scale, at) = fit(Size::from((w, h)), Size::from((width, height)));
            prop_assert!(f64::from(w) * scale <= f64::from(width) + 1e-6 && f64::from(h) * scale <= f64::from(height) + 1e-6);
            prop_assert!(f64::from(at.x) + f64::from(w) * scale <= f64::from(width) + 1e-6);
            prop_assert!(f64::from(at.y) + f64::from(h) * scale <= f64::from(height) + 1e-6);
        }

        #[test]
        fn parts_of_a_map_lie_in_it_and_side_by_side(widths in prop::collection::vec(16..3000i32, 1..5), h in 16..3000i32) {
            let mut x = -70;
            let areas: Vec<Rectangle<i32, Logical>> = widths
                .iter()
                .map(|w| {
                    let area = Rectangle::new(Point::from((x, 40)), Size::from((*w, h)));
                    x += w;
                    area
                })
                .collect();
            let mut next = 0;
            for area in &areas {
                let part = part(*area, &areas, 1.0);
                prop_assert_eq!(part.at, (next, 0));
                next += area.size.w as u32;
                prop_assert!(next <= part.whole.0 && part.whole.1 == h as u32);
            }
        }
    }
}
