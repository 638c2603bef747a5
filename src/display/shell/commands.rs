//! What a person or a client of the control socket can do with windows.

use smithay::desktop::Window;
use smithay::output::Output;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::{Logical, Point, Rectangle};

use super::windows::Placed;
use crate::display::desk::Desk;
use crate::display::outputs::key;

/// Where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the left.
    Left,
    /// To the right.
    Right,
    /// Upwards.
    Up,
    /// Downwards.
    Down,
}

/// Something done with the window that has the keyboard, or with the layout around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowCommand {
    /// The next window of the output gets the keyboard.
    FocusNext,
    /// The one before it.
    FocusPrevious,
    /// The nearest window that way gets the keyboard; where there is none, the output there.
    Focus(Direction),
    /// The window moves to the output that way.
    MoveTo(Direction),
    /// The window becomes the master; the master itself changes places with the first of the stack.
    SwapMaster,
    /// The master gets more of its output.
    Grow,
    /// It gets less.
    Shrink,
    /// The window has the clients' part of its output alone, or no more.
    Fullscreen,
    /// The window floats, or is tiled again.
    Float,
    /// The client is asked to close the window.
    Close,
}

/// How much the master's share changes at a time.
const STEP: f64 = 0.05;
/// No tile becomes less than that of its output.
const LEAST: f64 = 0.1;

impl Desk {
    /// Does it, as far as there is something to do it with.
    pub(crate) fn window_command(&mut self, command: WindowCommand) {
        let focused = self.windows.focused().map(|placed| placed.id);
        match (command, focused) {
            (WindowCommand::FocusNext, _) => self.cycle(1),
            (WindowCommand::FocusPrevious, _) => self.cycle(-1),
            (WindowCommand::Focus(direction), _) => self.focus_towards(direction),
            (WindowCommand::Grow, _) => self.change_ratio(STEP),
            (WindowCommand::Shrink, _) => self.change_ratio(-STEP),
            (WindowCommand::MoveTo(direction), Some(id)) => {
                let from = self.active_output().and_then(|output| self.space.output_geometry(output));
                if let Some(output) = from.and_then(|from| self.output_towards(from, direction)) {
                    self.move_window(id, &output);
                }
            }
            (WindowCommand::SwapMaster, Some(id)) => self.swap_master(id),
            (WindowCommand::Fullscreen, Some(id)) => {
                let now = self.windows.get(id).is_some_and(|placed| placed.fullscreen);
                self.set_window_fullscreen(id, !now);
            }
            (WindowCommand::Float, Some(id)) => self.toggle_float(id),
            (WindowCommand::Close, Some(id)) => {
                self.close_window(id);
            }
            (
                WindowCommand::MoveTo(_)
                | WindowCommand::SwapMaster
                | WindowCommand::Fullscreen
                | WindowCommand::Float
                | WindowCommand::Close,
                None,
            ) => {}
        }
    }

    /// This window gets the keyboard.
    pub(crate) fn focus_window(&mut self, id: u32) {
        let window = self.windows.get(id).map(|placed| placed.window.clone());
        self.focus(window);
    }

    /// Asks the client to close it; it may ask back.
    pub(crate) fn close_window(&mut self, id: u32) {
        let Some(placed) = self.windows.get(id) else { return };
        if let Some(toplevel) = placed.window.toplevel() {
            toplevel.send_close();
        }
        if let Some(x11) = placed.window.x11_surface() {
            // By WM_DELETE_WINDOW, where the program knows it. An error is a window that is gone.
            let _gone = x11.close();
        }
    }

    /// The window belongs to this output from now on.
    pub(crate) fn move_window(&mut self, id: u32, output: &Output) {
        let Some(placed) = self.windows.get_mut(id) else { return };
        placed.home = key(output);
        placed.at = None;
        self.arrange_windows();
        self.focus_window(id);
        self.windows_changed();
    }

    /// Fullscreen on or off.
    pub(crate) fn set_window_fullscreen(&mut self, id: u32, fullscreen: bool) {
        let Some(placed) = self.windows.get_mut(id) else { return };
        placed.fullscreen = fullscreen;
        self.arrange_windows();
        self.windows_changed();
    }

    /// Fullscreen on or off, as the client asks; perhaps on another output.
    pub(crate) fn set_fullscreen(&mut self, surface: &WlSurface, fullscreen: bool, output: Option<&Output>) {
        // In a kiosk it is not the program's business.
        if self.is_kiosk() {
            return;
        }
        let Some(placed) = self.windows.of_surface_mut(surface) else { return };
        placed.fullscreen = fullscreen;
        if let Some(output) = output {
            placed.home = key(output);
        }
        self.arrange_windows();
        self.windows_changed();
    }

    fn toggle_float(&mut self, id: u32) {
        let Some(placed) = self.windows.get_mut(id) else { return };
        let floats = !placed.floating();
        placed.floats = Some(floats);
        // A tile that begins to float is two thirds of what it was, so that it is seen to float.
        let size = placed.window.geometry().size;
        placed.size = floats.then(|| (size.w * 2 / 3, size.h * 2 / 3).into());
        placed.at = None;
        self.arrange_windows();
        self.windows_changed();
    }

    /// The window of this surface floats with its corner at this point of the desk. Returns whether there is
    /// one.
    pub(crate) fn float_window_at(&mut self, surface: &WlSurface, at: Point<i32, Logical>) -> bool {
        let Some(area) = self.active_output().and_then(|output| self.clients_area(output)) else {
            return false;
        };
        let Some(placed) = self.windows.of_surface_mut(surface) else { return false };
        placed.floats = Some(true);
        placed.at = Some(at - area.loc);
        self.arrange_windows();
        true
    }

    fn swap_master(&mut self, id: u32) {
        let Some(shown) = self.windows.get(id).and_then(|placed| placed.shown.clone()) else { return };
        let list = &mut self.windows.list;
        let tiled = |placed: &Placed| {
            placed.mapped && placed.shown.as_ref() == Some(&shown) && !placed.fullscreen && !placed.floating()
        };
        let tiles: Vec<usize> = (0..list.len()).filter(|at| tiled(&list[*at])).collect();
        let Some(at) = tiles.iter().position(|at| list[*at].id == id) else { return };
        if let (Some(first), Some(second)) = (tiles.first(), tiles.get(at.max(1))) {
            list.swap(*first, *second);
            self.arrange_windows();
            self.windows_changed();
        }
    }

    /// These two windows change places, also between outputs.
    pub(super) fn swap_windows(&mut self, one: u32, other: u32) {
        let at = |id: u32| self.windows.list.iter().position(|placed| placed.id == id);
        let (Some(one), Some(other)) = (at(one), at(other)) else { return };
        let list = &mut self.windows.list;
        let home = list[one].home.clone();
        list[one].home = std::mem::replace(&mut list[other].home, home);
        list.swap(one, other);
        self.arrange_windows();
        self.windows_changed();
    }

    fn change_ratio(&mut self, by: f64) {
        let Some(output) = self.active_output().map(key) else { return };
        let usual = self.config.settings.layout.master_ratio;
        let ratio = self.windows.ratios.entry(output).or_insert(usual);
        *ratio = (*ratio + by).clamp(LEAST, 1.0 - LEAST);
        self.arrange_windows();
    }

    /// The masters have the shares that the configuration says.
    pub(crate) fn forget_ratios(&mut self) {
        self.windows.ratios.clear();
    }

    fn cycle(&mut self, by: isize) {
        let active = self.active_output().map(key);
        let seen = self.seen();
        let here: Vec<u32> = self
            .windows
            .mapped()
            .filter(|placed| placed.shown == active && seen.contains(&placed.id))
            .map(|placed| placed.id)
            .collect();
        let count = here.len() as isize;
        if count == 0 {
            return;
        }
        let now = here.iter().position(|id| Some(*id) == self.windows.focused);
        let next = now.map_or(0, |now| (now as isize + by).rem_euclid(count));
        self.focus_window(here[next as usize]);
    }

    fn focus_towards(&mut self, direction: Direction) {
        let Some(active) = self.active_output().cloned() else { return };
        let Some(output) = self.space.output_geometry(&active) else { return };
        let focused = self.windows.focused();
        let from = focused.and_then(|placed| self.space.element_geometry(&placed.window)).unwrap_or(output);
        let seen = self.seen();
        let others: Vec<(Window, Rectangle<i32, Logical>)> = self
            .windows
            .mapped()
            .filter(|placed| Some(placed.id) != self.windows.focused && seen.contains(&placed.id))
            .filter_map(|placed| Some((placed.window.clone(), self.space.element_geometry(&placed.window)?)))
            .collect();
        if let Some(window) = nearest(from, direction, others) {
            self.focus(Some(window));
        } else if let Some(output) = self.output_towards(output, direction) {
            self.activate_output(&output);
        }
    }

    fn output_towards(&self, from: Rectangle<i32, Logical>, direction: Direction) -> Option<Output> {
        let others = self.outputs.iter().filter_map(|state| {
            let geometry = self.space.output_geometry(&state.output)?;
            (geometry != from).then(|| (state.output.clone(), geometry))
        });
        nearest(from, direction, others)
    }
}

/// Of these, the one whose middle lies that way and is nearest; what lies beside the way counts as further
/// off.
fn nearest<T>(
    from: Rectangle<i32, Logical>,
    direction: Direction,
    others: impl IntoIterator<Item = (T, Rectangle<i32, Logical>)>,
) -> Option<T> {
    // In half pixels, so that the middle is a whole number.
    let middle = |r: Rectangle<i32, Logical>| (2 * r.loc.x + r.size.w, 2 * r.loc.y + r.size.h);
    let here = middle(from);
    others
        .into_iter()
        .filter_map(|(item, rectangle)| {
            let (dx, dy) = (middle(rectangle).0 - here.0, middle(rectangle).1 - here.1);
            let (along, beside) = match direction {
                Direction::Left => (-dx, dy),
                Direction::Right => (dx, dy),
                Direction::Up => (-dy, dx),
                Direction::Down => (dy, dx),
            };
            (along > 0).then(|| (i64::from(along) + 2 * i64::from(beside.abs()), item))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, item)| item)
}

#[cfg(test)]
mod tests {
    use smithay::utils::Size;

    use super::*;

    #[test]
    fn the_nearest_that_way() {
        let at = |x: i32, y: i32, w: i32, h: i32| Rectangle::new(Point::from((x, y)), Size::from((w, h)));
        // A master with two beside it, and one on an output further right.
        let all = [("a", at(0, 0, 500, 600)), ("b", at(500, 0, 500, 300)), ("c", at(500, 300, 500, 300))];
        let right = ("d", at(1000, 0, 500, 600));
        let towards = |from: usize, direction| {
            let others = all.iter().chain([&right]).filter(|other| other.0 != all[from].0).copied();
            nearest(all[from].1, direction, others)
        };
        assert_eq!(towards(0, Direction::Right), Some("b"), "of two equally far, the first");
        assert_eq!(towards(1, Direction::Down), Some("c"));
        assert_eq!(towards(2, Direction::Up), Some("b"));
        assert_eq!(towards(2, Direction::Left), Some("a"));
        assert_eq!(towards(2, Direction::Right), Some("d"));
        assert_eq!(towards(0, Direction::Left), None);
    }
}
