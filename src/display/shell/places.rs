//! Which window lies where, and what is in front of what. Pure: outputs and windows as data in, places out,
//! back to front.

use std::collections::{HashMap, HashSet};

use smithay::utils::{Logical, Point, Rectangle, Size};

use super::tiling::{Tiling, tiles};

/// An output that windows can be on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Screen {
    pub(super) name: String,
    /// The clients' part of it.
    pub(super) area: Rectangle<i32, Logical>,
    pub(super) tiling: Tiling,
}

/// A window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) id: u32,
    pub(super) home: String,
    pub(super) fullscreen: bool,
    pub(super) floating: bool,
    /// The window that it is a dialog of.
    pub(super) parent: Option<u32>,
    pub(super) used: u64,
}

/// Where a window is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) id: u32,
    /// Which of the screens.
    pub(super) screen: usize,
    /// Its tile; for a window that floats or is fullscreen, all of the clients' part.
    pub(super) area: Rectangle<i32, Logical>,
    pub(super) layer: Layer,
}

/// What is in front of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Layer {
    Tile,
    Float,
    Fullscreen,
    /// A dialog of a fullscreen window.
    Above,
}

/// The places of all windows, back to front. A window whose home is not there is a guest on the first screen,
/// behind those that live there; with `no_guests` it has no place.
pub(super) fn places(screens: &[Screen], pieces: &[Piece], no_guests: bool) -> Vec<Place> {
    let mut placed = Vec::with_capacity(pieces.len());
    for (at, screen) in screens.iter().enumerate() {
        let own = pieces.iter().filter(|piece| piece.home == screen.name);
        let away =
            |piece: &&Piece| at == 0 && !no_guests && !screens.iter().any(|other| other.name == piece.home);
        let here: Vec<&Piece> = own.chain(pieces.iter().filter(away)).collect();
        let above = of_fullscreen(&here);
        let tiled = |piece: &&&Piece| !piece.fullscreen && !piece.floating;
        let mut free = tiles(screen.area, here.iter().filter(tiled).count(), &screen.tiling).into_iter();
        let mut all: Vec<(Layer, u64, Place)> = Vec::with_capacity(here.len());
        for piece in &here {
            let layer = if piece.fullscreen {
                Layer::Fullscreen
            } else if !piece.floating {
                Layer::Tile
            } else if above.contains(&piece.id) {
                Layer::Above
            } else {
                Layer::Float
            };
            let area = if layer == Layer::Tile { free.next().unwrap_or(screen.area) } else { screen.area };
            // Tiles do not overlap: among them the order is that of the list, so that it does not change.
            let used = if layer == Layer::Tile { 0 } else { piece.used };
            all.push((layer, used, Place { id: piece.id, screen: at, area, layer }));
        }
        all.sort_by_key(|(layer, used, _)| (*layer, *used));
        placed.extend(all.into_iter().map(|(_, _, place)| place));
    }
    placed
}

/// The windows that are dialogs of fullscreen ones, directly or through others.
fn of_fullscreen(here: &[&Piece]) -> HashSet<u32> {
    let mut found = HashSet::new();
    let mut open: Vec<u32> = here.iter().filter(|piece| piece.fullscreen).map(|piece| piece.id).collect();
    if open.is_empty() {
        return found;
    }
    let mut dialogs: HashMap<u32, Vec<u32>> = HashMap::new();
    for piece in here {
        if let Some(parent) = piece.parent {
            dialogs.entry(parent).or_default().push(piece.id);
        }
    }
    while let Some(id) = open.pop() {
        // Taken out, so that two that call each other their parent are seen once.
        for dialog in dialogs.remove(&id).unwrap_or_default() {
            found.insert(dialog);
            open.push(dialog);
        }
    }
    found
}

/// Where a floating window lies that wants to be at this place of the area: so that it can always be taken
/// hold of.
pub(super) fn float_at(
    area: Rectangle<i32, Logical>,
    size: Size<i32, Logical>,
    at: Option<Point<i32, Logical>>,
) -> Point<i32, Logical> {
    const HOLD: i32 = 32;
    let middle = |room: i32, length: i32| (room - length).max(0) / 2;
    let Some(at) = at else {
        return area.loc + Point::from((middle(area.size.w, size.w), middle(area.size.h, size.h)));
    };
    let within = |at: i32, length: i32, room: i32| {
        let hold = HOLD.min(length).min(room);
        at.clamp(hold - length, room - hold)
    };
    area.loc + Point::from((within(at.x, size.w, area.size.w), within(at.y, size.h, area.size.h)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tiling::MasterSide;
    use super::*;

    fn screen(name: &str, x: i32) -> Screen {
        Screen {
            name: name.into(),
            area: Rectangle::new(Point::from((x, 0)), Size::from((1000, 600))),
            tiling: Tiling { gap: 0, ratio: 0.5, side: MasterSide::Auto },
        }
    }

    fn piece(id: u32, home: &str) -> Piece {
        Piece { id, home: home.into(), fullscreen: false, floating: false, parent: None, used: u64::from(id) }
    }

    fn order(places: &[Place]) -> Vec<u32> {
        places.iter().map(|place| place.id).collect()
    }

    #[test]
    fn windows_go_home_when_their_output_is_back() {
        let pieces = [piece(1, "B"), piece(2, "A"), piece(3, "B")];
        let both = [screen("A", 0), screen("B", 1000)];
        let before = places(&both, &pieces, false);
        let alone = places(&both[..1], &pieces, false);
        assert_eq!(order(&alone), [2, 1, 3], "guests come after those who live there");
        assert_eq!(alone[0].area.loc, Point::from((0, 0)), "and its master stays its master");
        assert!(alone.iter().all(|place| place.screen == 0));
        assert_eq!(places(&both, &pieces, false), before);
        assert_eq!(order(&places(&both[..1], &pieces, true)), [2], "in a kiosk nobody visits");
        assert_eq!(places(&[], &pieces, false), []);
    }

    #[test]
    fn what_is_in_front() {
        let screens = [screen("A", 0)];
        let dialog = Piece { floating: true, parent: Some(1), used: 1, ..piece(4, "A") };
        let of_dialog = Piece { floating: true, parent: Some(4), used: 2, ..piece(5, "A") };
        let other = Piece { floating: true, used: 9, ..piece(3, "A") };
        let pieces = [dialog, of_dialog, other, piece(1, "A"), piece(2, "A")];
        assert_eq!(order(&places(&screens, &pieces, false)), [1, 2, 4, 5, 3], "floats by use, above tiles");
        let mut full = pieces.clone();
        full[3].fullscreen = true;
        let placed = places(&screens, &full, false);
        assert_eq!(order(&placed), [2, 3, 1, 4, 5], "a fullscreen window has only its own dialogs above it");
        assert_eq!(placed[0].area, screens[0].area, "the other tile is alone");
        // Two that call each other their parent.
        let mut ring = pieces;
        ring[0].parent = Some(5);
        assert_eq!(order(&places(&screens, &ring, false)), [1, 2, 4, 5, 3]);
    }

    proptest! {
        #[test]
        fn every_window_has_one_place_on_its_own_output_if_that_is_there(
            windows in prop::collection::vec((0..4usize, any::<bool>(), any::<bool>(), 0..9u64), 0..12),
            there in prop::collection::vec(0..4usize, 1..4),
        ) {
            let names = ["A", "B", "C", "D"];
            let pieces: Vec<Piece> = windows
                .iter()
                .enumerate()
                .map(|(id, (home, fullscreen, floating, used))| Piece {
                    fullscreen: *fullscreen,
                    floating: *floating,
                    used: *used,
                    ..piece(id as u32, names[*home])
                })
                .collect();
            let mut there = there;
            there.sort_unstable();
            there.dedup();
            let screens: Vec<Screen> =
                there.iter().map(|at| screen(names[*at], 1000 * *at as i32)).collect();
            let placed = places(&screens, &pieces, false);
            let mut ids = order(&placed);
            ids.sort_unstable();
            prop_assert_eq!(ids, (0..pieces.len() as u32).collect::<Vec<_>>());
            for place in &placed {
                let piece = &pieces[place.id as usize];
                let screen = &screens[place.screen];
                let home_is_there = screens.iter().any(|screen| screen.name == piece.home);
                prop_assert!(!home_is_there || screen.name == piece.home);
                prop_assert!(screen.area.contains_rect(place.area));
                for other in &placed {
                    let both_tiled = place.layer == Layer::Tile && other.layer == Layer::Tile;
                    prop_assert!(!both_tiled || place.id == other.id || !place.area.overlaps(other.area));
                }
            }
        }

        #[test]
        fn a_floating_window_can_always_be_taken_hold_of(
            x in -5000..5000i32, y in -5000..5000i32, w in 1..3000i32, h in 1..3000i32, room in (64..4000i32, 64..4000i32),
        ) {
            let area = Rectangle::new(Point::from((100, 50)), Size::from(room));
            let size = Size::from((w, h));
            for at in [None, Some(Point::from((x, y)))] {
                let seen = area.intersection(Rectangle::new(float_at(area, size, at), size)).expect("some of it");
                prop_assert!(seen.size.w >= w.min(32) && seen.size.h >= h.min(32));
            }
            let inside = Point::from((x.rem_euclid(room.0), y.rem_euclid(room.1)));
            if inside.x + 32 <= room.0 && inside.y + 32 <= room.1 {
                prop_assert_eq!(float_at(area, size, Some(inside)), area.loc + inside);
            }
        }
    }
}
