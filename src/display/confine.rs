//! The pointer goes where the person moves it, but for a client that holds it: locked it stays, confined it slides along the edge.

use smithay::input::pointer::PointerHandle;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::{Logical, Point};
use smithay::wayland::compositor::RegionAttributes;
use smithay::wayland::pointer_constraints::{PointerConstraint, with_pointer_constraint};
use smithay::wayland::seat::WaylandFocus as _;

use super::Compositor;
use super::desk::Desk;

/// How exactly an edge is found, in pixels.
const STEP: f64 = 1.0 / 64.0;

/// What holds the pointer.
enum Hold {
    Locked,
    Confined { surface: WlSurface, place: Point<f64, Logical>, region: Option<RegionAttributes> },
}

impl Desk {
    fn hold(&self, pointer: &PointerHandle<Compositor>) -> Option<Hold> {
        let surface = pointer.current_focus()?;
        let place = self.under(self.pointer_at).filter(|under| under.surface == surface)?.place;
        with_pointer_constraint(&surface, pointer, |constraint| {
            let constraint = constraint.filter(|constraint| constraint.is_active())?;
            Some(match &*constraint {
                PointerConstraint::Locked(_) => Hold::Locked,
                PointerConstraint::Confined(confined) => {
                    Hold::Confined { surface: surface.clone(), place, region: confined.region().cloned() }
                }
            })
        })
    }

    /// Where a pointer that is to go there may go: `None` when it is held in place.
    pub(crate) fn constrain(
        &self,
        pointer: &PointerHandle<Compositor>,
        to: Point<f64, Logical>,
    ) -> Option<Point<f64, Logical>> {
        match self.hold(pointer) {
            None => Some(to),
            Some(Hold::Locked) => None,
            Some(Hold::Confined { surface, place, region }) => {
                // A pixel is inside as a whole: its far corner is, too.
                let allowed = |at: Point<f64, Logical>| {
                    [at, Point::from((at.x.ceil(), at.y.ceil()))].into_iter().all(|corner| {
                        inside(region.as_ref(), corner - place)
                            && self.under(corner).is_some_and(|under| under.surface == surface)
                    })
                };
                let at = slide(self.pointer_at, to, allowed);
                let edge = Point::from((at.x.round(), at.y.round()));
                let near = (edge.x - at.x).abs().max((edge.y - at.y).abs()) < 2.0 * STEP;
                Some(if near && at != to && allowed(edge) { edge } else { at })
            }
        }
    }
}

impl Compositor {
    /// Gives the client under the pointer the hold that it has asked for, once the pointer is where it wants it.
    pub(crate) fn activate_constraint(&mut self) {
        let Some(pointer) = self.desk.seat.get_pointer() else { return };
        let Some(under) = self.desk.under(self.desk.pointer_at) else { return };
        if pointer.current_focus().as_ref() != Some(&under.surface) {
            return;
        }
        if !self.has_keyboard(&under.surface) {
            return;
        }
        let at = self.desk.pointer_at - under.place;
        with_pointer_constraint(&under.surface, &pointer, |constraint| {
            if let Some(constraint) = constraint
                && !constraint.is_active()
                && inside(constraint.region(), at)
            {
                constraint.activate();
            }
        });
    }
}

impl Compositor {
    /// A client that has lost the keyboard has lost the pointer, too.
    pub(crate) fn release_constraint(&mut self) {
        let Some(pointer) = self.desk.seat.get_pointer() else { return };
        let Some(surface) = pointer.current_focus().filter(|surface| !self.has_keyboard(surface)) else {
            return;
        };
        with_pointer_constraint(&surface, &pointer, |constraint| {
            if let Some(constraint) = constraint.filter(|constraint| constraint.is_active()) {
                constraint.deactivate();
            }
        });
    }

    /// Whether the window of this surface has the keyboard.
    fn has_keyboard(&self, surface: &WlSurface) -> bool {
        let keyboard = self.desk.seat.get_keyboard();
        let focus = keyboard.and_then(|keyboard| keyboard.current_focus());
        focus
            .and_then(|focus| focus.wl_surface().map(|focused| self.desk.owner_of(&focused)))
            .is_some_and(|owner| owner == self.desk.owner_of(surface))
    }
}

fn inside(region: Option<&RegionAttributes>, at: Point<f64, Logical>) -> bool {
    region.is_none_or(|region| region.contains(at.to_i32_floor()))
}

/// The way from one point towards another, as far as it is allowed, and then along whichever axis still is.
fn slide(
    from: Point<f64, Logical>,
    to: Point<f64, Logical>,
    allowed: impl Fn(Point<f64, Logical>) -> bool,
) -> Point<f64, Logical> {
    let corner = reach(from, to, &allowed);
    let along_x = reach(corner, Point::from((to.x, corner.y)), &allowed);
    reach(along_x, Point::from((along_x.x, to.y)), &allowed)
}

/// The last allowed point of a straight line, to a part of a pixel.
fn reach(
    from: Point<f64, Logical>,
    to: Point<f64, Logical>,
    allowed: impl Fn(Point<f64, Logical>) -> bool,
) -> Point<f64, Logical> {
    if allowed(to) {
        return to;
    }
    let (mut good, mut bad) = (from, to);
    while (bad.x - good.x).abs().max((bad.y - good.y).abs()) > STEP {
        let middle = Point::from(((good.x + bad.x) / 2.0, (good.y + bad.y) / 2.0));
        if allowed(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    good
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn in_box(at: Point<f64, Logical>) -> bool {
        (10.0..110.0).contains(&at.x) && (20.0..70.0).contains(&at.y)
    }

    #[test]
    fn a_confined_pointer_slides_along_the_edge() {
        let at = slide(Point::from((50.0, 50.0)), Point::from((500.0, 60.0)), in_box);
        assert!((109.9..110.0).contains(&at.x) && (at.y - 60.0).abs() < 0.1, "{at:?}");
        let corner = slide(Point::from((50.0, 50.0)), Point::from((-500.0, 900.0)), in_box);
        assert!((10.0..10.1).contains(&corner.x) && (69.9..70.0).contains(&corner.y), "{corner:?}");
    }

    proptest! {
        #[test]
        fn it_never_leaves_and_goes_freely_inside(x in 10.0..109.9f64, y in 20.0..69.9f64, to_x in -500.0..500.0f64, to_y in -500.0..500.0f64) {
            let (from, to) = (Point::from((x, y)), Point::from((to_x, to_y)));
            let at = slide(from, to, in_box);
            prop_assert!(in_box(at));
            if in_box(to) {
                prop_assert_eq!(at, to);
            }
        }
    }
}
