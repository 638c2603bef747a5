//! Where the map lies on an output, and what is left for the clients. Pure geometry, in the output's own pixels.

use serde::{Deserialize, Serialize};
use smithay::utils::{Logical, Point, Rectangle, Size};

/// Where the map lies. The hotkey goes round in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// The map has a part of the output of its own, the clients have the rest.
    #[default]
    Beside,
    /// The clients have the whole output, the map lies over its lower right.
    Over,
    /// The map covers the output.
    Full,
    /// No map.
    Off,
}

/// One output divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Division {
    /// The map's rectangle; `None` when it is off.
    pub map: Option<Rectangle<i32, Logical>>,
    /// Where clients are laid out.
    pub clients: Rectangle<i32, Logical>,
}

impl Placement {
    /// The next one round: beside, over, full, off, and beside again.
    pub fn next(self) -> Self {
        match self {
            Placement::Beside => Placement::Over,
            Placement::Over => Placement::Full,
            Placement::Full => Placement::Off,
            Placement::Off => Placement::Beside,
        }
    }

    /// Divides an output of this size. The map is as square as the output allows, because the curve fills a square.
    pub fn divide(self, output: Size<i32, Logical>) -> Division {
        let whole = Rectangle::from_size(output);
        let (w, h) = (output.w, output.h);
        // Too small to divide: whoever is asked for gets everything.
        let tiny = w < 2 || h < 2;
        match self {
            Placement::Off => Division { map: None, clients: whole },
            Placement::Full => Division { map: Some(whole), clients: whole },
            _ if tiny => Division { map: Some(whole), clients: whole },
            Placement::Beside if w >= h => {
                // At least a third, at most a half, and a square where that lies between.
                let map = h.clamp(w / 3, w / 2).max(1);
                Division { map: Some(rectangle(w - map, 0, map, h)), clients: rectangle(0, 0, w - map, h) }
            }
            Placement::Beside => {
                let map = w.clamp(h / 3, h / 2).max(1);
                Division { map: Some(rectangle(0, h - map, w, map)), clients: rectangle(0, 0, w, h - map) }
            }
            Placement::Over => {
                let side = (w.min(h) * 3 / 5).max(1);
                let margin = (w.min(h) / 40).min(w - side).min(h - side).max(0);
                Division {
                    map: Some(rectangle(w - side - margin, h - side - margin, side, side)),
                    clients: whole,
                }
            }
        }
    }
}

fn rectangle(x: i32, y: i32, w: i32, h: i32) -> Rectangle<i32, Logical> {
    Rectangle::new(Point::from((x, y)), Size::from((w, h)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn common_screens() {
        let divide = |placement: Placement, w, h| placement.divide(Size::from((w, h)));
        assert_eq!(
            divide(Placement::Beside, 1024, 768),
            Division { map: Some(rectangle(512, 0, 512, 768)), clients: rectangle(0, 0, 512, 768) }
        );
        assert_eq!(divide(Placement::Beside, 1920, 1080).map, Some(rectangle(960, 0, 960, 1080)));
        assert_eq!(divide(Placement::Beside, 3440, 1440).map, Some(rectangle(2000, 0, 1440, 1440)));
        assert_eq!(divide(Placement::Beside, 1080, 1920).map, Some(rectangle(0, 960, 1080, 960)));
        assert_eq!(divide(Placement::Over, 1000, 800).map, Some(rectangle(500, 300, 480, 480)));
        assert_eq!(divide(Placement::Full, 800, 600).map, Some(rectangle(0, 0, 800, 600)));
    }

    #[test]
    fn the_hotkey_goes_all_the_way_round() {
        let mut seen = vec![Placement::Beside];
        while seen.len() < 5 {
            seen.push(seen[seen.len() - 1].next());
        }
        assert_eq!(
            seen,
            [Placement::Beside, Placement::Over, Placement::Full, Placement::Off, Placement::Beside]
        );
    }

    proptest! {
        #[test]
        fn the_map_is_inside_the_output_and_never_empty(w in 1..20_000i32, h in 1..20_000i32) {
            let whole = Rectangle::from_size(Size::from((w, h)));
            for placement in [Placement::Beside, Placement::Over, Placement::Full, Placement::Off] {
                let Division { map, clients } = placement.divide(Size::from((w, h)));
                prop_assert!(whole.contains_rect(clients) && clients.size.w > 0 && clients.size.h > 0);
                prop_assert_eq!(map.is_none(), placement == Placement::Off);
                if let Some(map) = map {
                    prop_assert!(whole.contains_rect(map) && map.size.w > 0 && map.size.h > 0);
                    if placement == Placement::Beside && w >= 2 && h >= 2 {
                        prop_assert!(!map.overlaps(clients));
                        let area = |r: Rectangle<i32, Logical>| i64::from(r.size.w) * i64::from(r.size.h);
                        prop_assert_eq!(area(map) + area(clients), area(whole));
                    }
                }
            }
        }
    }
}
