//! Protocols as clients see them: real clients against the compositor, in one process.

mod wayland;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use memory_glass::channel::Channel;
use memory_glass::display::settings::{ModeChoice, OutputRule, Settings};
use memory_glass::display::{MapCommand, MapPointer, Notice, OverlayKind, Placement};
use memory_glass::render::{Caption, ColorPalette, Picture};
use memory_glass::sensing::DensityMap;
use nix::time::{ClockId, clock_gettime};
use wayland::{BLUE, Bench, GREEN, LEFT_BUTTON, RED, Said, WHITE, at};
use wayland_client::Proxy;
use wayland_client::protocol::wl_data_device_manager::{DndAction, WlDataDeviceManager};
use wayland_protocols::ext::data_control::v1::client::ext_data_control_manager_v1::ExtDataControlManagerV1;
use wayland_protocols::ext::foreign_toplevel_list::v1::client::ext_foreign_toplevel_list_v1::ExtForeignToplevelListV1;
use wayland_protocols::ext::idle_notify::v1::client::ext_idle_notifier_v1::ExtIdleNotifierV1;
use wayland_protocols::ext::session_lock::v1::client::ext_session_lock_manager_v1::ExtSessionLockManagerV1;
use wayland_protocols::wp::commit_timing::v1::client::wp_commit_timing_manager_v1::WpCommitTimingManagerV1;
use wayland_protocols::wp::fractional_scale::v1::client::wp_fractional_scale_manager_v1::WpFractionalScaleManagerV1;
use wayland_protocols::wp::idle_inhibit::zv1::client::zwp_idle_inhibit_manager_v1::ZwpIdleInhibitManagerV1;
use wayland_protocols::wp::keyboard_shortcuts_inhibit::zv1::client::zwp_keyboard_shortcuts_inhibit_manager_v1::ZwpKeyboardShortcutsInhibitManagerV1;
use wayland_protocols::wp::pointer_constraints::zv1::client::zwp_pointer_constraints_v1::{
    Lifetime, ZwpPointerConstraintsV1,
};
use wayland_protocols::wp::presentation_time::client::wp_presentation::WpPresentation;
use wayland_protocols::wp::relative_pointer::zv1::client::zwp_relative_pointer_manager_v1::ZwpRelativePointerManagerV1;
use wayland_protocols::xdg::activation::v1::client::xdg_activation_v1::XdgActivationV1;
use wayland_protocols_wlr::layer_shell::v1::client::zwlr_layer_shell_v1::Layer;
use wayland_protocols_wlr::layer_shell::v1::client::zwlr_layer_surface_v1::{Anchor, KeyboardInteractivity};

const KEY_A: u32 = 30;
const KEY_H: u32 = 35;
const KEY_ESCAPE: u32 = 1;
const KEY_SUPER: u32 = 125;
const KEY_0: u32 = 11;

#[test]
fn a_menu_has_the_keyboard_until_a_click_outside_dismisses_it_and_what_is_nested_in_it() {
    let mut bench = Bench::new();
    let (one, other) = (bench.program(), bench.program());
    let window = bench.window(one, RED);
    // The window opened last has the keyboard; a press on the other gives it that.
    let neighbour = bench.window(other, BLUE);
    let serial = bench.press(one, 20.0, 20.0);
    bench.release();
    let menu = bench.menu(one, &window.xdg, (400, 50), serial);
    bench.until_said(one, &Said::KeyboardEnter(menu.panel.id()));
    // It reaches over the neighbour, which was opened later, and is seen there.
    bench.until_colour("the menu over the neighbour", 480, 60, WHITE);
    let nested = bench.menu(one, &menu.xdg, (10, 40), serial);
    bench.until_said(one, &Said::KeyboardEnter(nested.panel.id()));
    bench[one].heard.said.clear();
    bench.key(KEY_A);
    bench.until_said(one, &Said::Key(KEY_A, true));
    // A click within is for the client to act on.
    bench.click(420.0, 100.0);
    bench.until_said(one, &Said::Button(LEFT_BUTTON, true));
    assert!(!bench[one].heard.said.iter().any(|said| matches!(said, Said::PopupDone(_))));
    // One outside ends both, and is a click on the neighbour.
    bench.click(800.0, 500.0);
    bench.until_said(one, &Said::PopupDone(nested.panel.id()));
    bench.until_said(one, &Said::PopupDone(menu.panel.id()));
    bench.until_said(other, &Said::KeyboardEnter(neighbour.panel.id()));
}

#[test]
fn a_menu_stays_on_the_screen() {
    let mut bench = Bench::new();
    let program = bench.program();
    let window = bench.window(program, RED);
    let serial = bench.press(program, 20.0, 20.0);
    bench.release();
    // It would reach beyond the right and the lower edge.
    let menu = bench.menu(program, &window.xdg, (880, 590), serial);
    bench.until_said(program, &Said::PopupAt(800, 520, 100, 80));
    bench.until_colour("the menu in the corner", 899, 599, WHITE);
    menu.popup.destroy();
}

#[test]
fn bars_take_their_part_and_the_map_and_the_windows_share_what_is_left() {
    let mut bench = Bench::with_map(Some(Placement::Beside));
    let (bar, program) = (bench.program(), bench.program());
    let window = bench.window(program, RED);
    bench.until_said(program, &Said::Configured(window.panel.id(), 450, 600));
    let panel = bench[bar].layer(Layer::Top, GREEN);
    panel.layer.set_anchor(Anchor::Top | Anchor::Left | Anchor::Right);
    panel.layer.set_size(0, 40);
    panel.layer.set_exclusive_zone(40);
    panel.panel.surface.commit();
    bench.until_said(bar, &Said::LayerConfigured(900, 40));
    // 900 × 560 is left, of which the map is half.
    bench.until_said(program, &Said::Configured(window.panel.id(), 450, 560));
    bench.until("bar and window", |bench| {
        let screen = bench.screen();
        let right =
            at(&screen, 10, 39) == GREEN && at(&screen, 890, 39) == GREEN && at(&screen, 10, 40) == RED;
        right.then_some(())
    });
    bench[program].heard.said.clear();
    panel.layer.destroy();
    panel.panel.surface.destroy();
    bench.until_said(program, &Said::Configured(window.panel.id(), 450, 600));
}

#[test]
fn layers_lie_in_their_order_and_have_the_keyboard_when_they_want_it() {
    let mut bench = Bench::new();
    let (shell, program) = (bench.program(), bench.program());
    let wallpaper = bench[shell].layer(Layer::Background, BLUE);
    wallpaper.layer.set_anchor(Anchor::all());
    wallpaper.layer.set_exclusive_zone(-1);
    wallpaper.panel.surface.commit();
    bench.until_colour("a wallpaper", 450, 300, BLUE);
    let window = bench.window(program, RED);
    bench.until_colour("a window over it", 450, 300, RED);
    bench.until_said(program, &Said::KeyboardEnter(window.panel.id()));
    let launcher = bench[shell].layer(Layer::Overlay, GREEN);
    launcher.layer.set_size(200, 100);
    launcher.layer.set_keyboard_interactivity(KeyboardInteractivity::Exclusive);
    launcher.panel.surface.commit();
    bench.until_colour("a launcher over that", 450, 300, GREEN);
    bench.until_said(shell, &Said::KeyboardEnter(launcher.panel.id()));
    bench.until_said(program, &Said::KeyboardLeave(window.panel.id()));
    bench[program].heard.said.clear();
    bench.click(20.0, 20.0);
    assert!(
        !bench[program].heard.said.contains(&Said::KeyboardEnter(window.panel.id())),
        "it is not to be had by a click"
    );
    // Its menus belong to it.
    let menu = bench[shell].layer_popup(&launcher.layer, (150, 50), (100, 80));
    bench.until_colour("its menu", 590, 370, WHITE);
    menu.popup.destroy();
    launcher.layer.destroy();
    bench.until_said(program, &Said::KeyboardEnter(window.panel.id()));
    bench.until_colour("the window is back", 450, 300, RED);
}

#[test]
fn a_locked_session_shows_and_hears_nothing_but_its_lock() {
    let mut bench = Bench::with_map(Some(Placement::Beside));
    let (program, locker) = (bench.program(), bench.program());
    let window = bench.window(program, RED);
    bench.until_colour("the window", 20, 20, RED);
    let manager: ExtSessionLockManagerV1 = bench[locker].bind(1);
    let handle = bench[locker].handle.clone();
    let lock = manager.lock(&handle, ());
    bench.until_said(locker, &Said::SessionLocked);
    let screen = bench.screen();
    let blank = at(&screen, 20, 20);
    assert!(blank != RED && screen.pixels.iter().all(|pixel| *pixel == blank), "not even the map is left");
    let (panel, surface) = bench[locker].lock_panel(&lock, GREEN);
    bench.until_said(locker, &Said::LockConfigured(900, 600));
    bench.until_colour("the lock's own picture", 20, 20, GREEN);
    bench.until_said(locker, &Said::KeyboardEnter(panel.id()));
    // A second one is refused, and does not disturb the first.
    manager.lock(&handle, ());
    bench.until_said(locker, &Said::LockFinished);

    bench[program].heard.said.clear();
    bench[locker].heard.said.clear();
    bench.click(20.0, 20.0);
    bench.key(KEY_A);
    bench.until_said(locker, &Said::Button(LEFT_BUTTON, true));
    bench.until_said(locker, &Said::Key(KEY_A, true));
    let heard = &bench[program].heard.said;
    let input = |said: &Said| matches!(said, Said::Button(..) | Said::Key(..) | Said::PointerEnter(..));
    assert!(!heard.iter().any(input), "{heard:?}");
    // A window that opens meanwhile is not to be seen, and does not get the keyboard.
    let late = bench[program].window(BLUE);
    bench.settle();
    assert!(bench.screen().pixels.iter().all(|pixel| *pixel == GREEN));
    assert!(!bench[program].heard.said.contains(&Said::KeyboardEnter(late.panel.id())));

    lock.unlock_and_destroy();
    surface.destroy();
    panel.surface.destroy();
    bench.until("the session is open", |bench| (at(&bench.screen(), 20, 20) != GREEN).then_some(()));
    bench.until("somebody has the keyboard again", |bench| {
        let heard = &bench[program].heard.said;
        let open = [&window, &late].map(|window| Said::KeyboardEnter(window.panel.id()));
        heard.iter().any(|said| open.contains(said)).then_some(())
    });
}

/// Every cell of another brightness than its neighbours.
fn picture(seed: usize) -> Arc<Picture> {
    let density = DensityMap::from_shape_fn((64, 64), |(y, x)| ((x * 3 + y * 5 + seed) % 97) as f32 / 96.0);
    let caption = Caption {
        target: format!("test {seed}"),
        numbers: Vec::new(),
        status: "locked".into(),
        order: 6,
        bytes_per_cell: 4096.0,
        total_bytes: 64 * 64 * 4096,
        half_life: Duration::from_millis(250),
    };
    Arc::new(Picture::new(Arc::new(density), caption, ColorPalette::Viridis))
}

fn colours(bench: &mut Bench) -> usize {
    bench.screen().pixels.into_iter().collect::<HashSet<u32>>().len()
}

/// What the pointer has done to the map since the last look.
fn of_the_map(notices: &Channel<Notice>) -> Vec<MapPointer> {
    std::iter::from_fn(|| notices.try_recv().ok())
        .filter_map(|notice| match notice {
            Notice::Map(pointer) => Some(pointer),
            _ => None,
        })
        .collect()
}

#[test]
fn a_locked_session_has_no_map_to_see_or_to_touch() {
    let mut bench = Bench::with_map(Some(Placement::Beside));
    let notices = bench.compositor.notices().expect("descriptors are left");
    let locker = bench.program();
    bench.compositor.show(picture(1));
    bench.until("the map", |bench| (colours(bench) > 32).then_some(()));
    bench.move_to(675.0, 200.0);
    bench.compositor.puppet().button(LEFT_BUTTON, true);
    let held = of_the_map(&notices);
    assert!(
        matches!(held[..], [MapPointer::Moved(Some(_)), MapPointer::Pressed { down: true, moving: false }]),
        "{held:?}"
    );

    // With Super it is the map that is to be moved; and a key asks for all of it again.
    bench.compositor.puppet().button(LEFT_BUTTON, false);
    assert_eq!(of_the_map(&notices), [MapPointer::Pressed { down: false, moving: false }]);
    bench.compositor.puppet().key(KEY_SUPER, true);
    bench.compositor.puppet().button(LEFT_BUTTON, true);
    assert_eq!(of_the_map(&notices), [MapPointer::Pressed { down: true, moving: true }]);
    bench.compositor.puppet().key(KEY_0, true);
    assert_eq!(notices.try_recv().ok(), Some(Notice::LookAt(MapCommand::Whole)));
    bench.compositor.puppet().key(KEY_0, false);
    bench.compositor.puppet().key(KEY_SUPER, false);

    // Whoever locks it has no surface: what is hidden is hidden all the same, and not to be had by the pointer.
    let manager: ExtSessionLockManagerV1 = bench[locker].bind(1);
    let handle = bench[locker].handle.clone();
    let lock = manager.lock(&handle, ());
    bench.until_said(locker, &Said::SessionLocked);
    assert_eq!(
        of_the_map(&notices),
        [MapPointer::Moved(None), MapPointer::Pressed { down: false, moving: false }]
    );
    bench.compositor.puppet().button(LEFT_BUTTON, false);
    bench.compositor.show(picture(2));
    bench.compositor.set_placement(Placement::Full);
    bench.move_to(600.0, 250.0);
    bench.click(500.0, 300.0);
    assert_eq!(colours(&mut bench), 1, "nothing but the backdrop");
    assert_eq!(of_the_map(&notices), []);

    lock.unlock_and_destroy();
    bench.until("the map is back", |bench| (colours(bench) > 32).then_some(()));
    bench.move_to(400.0, 200.0);
    let moved = of_the_map(&notices);
    assert!(matches!(moved[..], [MapPointer::Moved(Some(_))]), "{moved:?}");
}

#[test]
fn a_session_stays_locked_when_its_lock_dies_until_another_one_opens_it() {
    let mut bench = Bench::new();
    let (program, dying, rescuer) = (bench.program(), bench.program(), bench.program());
    let _window = bench.window(program, RED);
    bench.until_colour("the window", 20, 20, RED);
    let manager: ExtSessionLockManagerV1 = bench[dying].bind(1);
    let handle = bench[dying].handle.clone();
    let lock = manager.lock(&handle, ());
    let _panel = bench[dying].lock_panel(&lock, GREEN);
    bench.until_said(dying, &Said::SessionLocked);
    bench.until_colour("locked", 20, 20, GREEN);
    bench.kill(dying);
    bench.until("the dead one's picture is gone", |bench| {
        (at(&bench.screen(), 20, 20) != GREEN).then_some(())
    });
    assert_ne!(at(&bench.screen(), 20, 20), RED, "and nothing else is there");
    bench.click(20.0, 20.0);
    assert!(!bench[program].heard.said.contains(&Said::Button(LEFT_BUTTON, true)));

    let manager: ExtSessionLockManagerV1 = bench[rescuer].bind(1);
    let handle = bench[rescuer].handle.clone();
    let lock = manager.lock(&handle, ());
    bench.until_said(rescuer, &Said::SessionLocked);
    let (panel, surface) = bench[rescuer].lock_panel(&lock, BLUE);
    bench.until_colour("locked by another", 20, 20, BLUE);
    lock.unlock_and_destroy();
    surface.destroy();
    panel.surface.destroy();
    // Not where the pointer is.
    bench.until_colour("open", 200, 200, RED);
}

#[test]
fn a_locked_pointer_stays_and_its_movement_is_told() {
    let mut bench = Bench::new();
    let program = bench.program();
    let window = bench.window(program, RED);
    bench.move_to(300.0, 200.0);
    let handle = bench[program].handle.clone();
    let pointer = bench[program].pointer.clone();
    let relative: ZwpRelativePointerManagerV1 = bench[program].bind(1);
    relative.get_relative_pointer(&pointer, &handle, ());
    let constraints: ZwpPointerConstraintsV1 = bench[program].bind(1);
    let held =
        constraints.lock_pointer(&window.panel.surface, &pointer, None, Lifetime::Persistent, &handle, ());
    bench.until_said(program, &Said::PointerLocked);
    bench[program].heard.said.clear();
    bench.compositor.puppet().move_by(40.0, 30.0);
    bench.until_said(program, &Said::RelativeMotion(40.0, 30.0));
    bench.settle();
    assert!(!bench[program].heard.said.iter().any(|said| matches!(said, Said::PointerMotion(..))));
    held.destroy();
    bench.settle();
    bench.compositor.puppet().move_by(5.0, 7.0);
    bench.until_said(program, &Said::PointerMotion(305.0, 207.0));
}

#[test]
fn a_confined_pointer_slides_along_the_windows_edge() {
    let mut bench = Bench::new();
    let (program, other) = (bench.program(), bench.program());
    let window = bench.window(program, RED);
    let _neighbour = bench.window(other, BLUE);
    bench.click(300.0, 200.0);
    let handle = bench[program].handle.clone();
    let pointer = bench[program].pointer.clone();
    let constraints: ZwpPointerConstraintsV1 = bench[program].bind(1);
    constraints.confine_pointer(&window.panel.surface, &pointer, None, Lifetime::Persistent, &handle, ());
    bench.until_said(program, &Said::PointerConfined);
    bench[program].heard.said.clear();
    bench.compositor.puppet().move_by(500.0, 50.0);
    bench.settle();
    let heard = bench[program].heard.said.clone();
    let Some(Said::PointerMotion(x, y)) = heard.last() else { panic!("{heard:?}") };
    assert_eq!((*x, *y), (449.0, 250.0));
    assert!(!bench[other].heard.said.iter().any(|said| matches!(said, Said::PointerEnter(..))));
}

#[test]
fn a_window_comes_to_the_front_only_by_who_has_the_persons_attention() {
    let mut bench = Bench::new();
    let (one, other) = (bench.program(), bench.program());
    let window = bench.window(one, RED);
    let _front = bench.window(other, BLUE);
    let token = |bench: &mut Bench, program: usize, serial: Option<u32>| {
        let activation: XdgActivationV1 = bench[program].bind(1);
        let handle = bench[program].handle.clone();
        bench[program].heard.said.retain(|said| !matches!(said, Said::Token(_)));
        let token = activation.get_activation_token(&handle, ());
        if let Some(serial) = serial {
            token.set_serial(serial, &bench[program].seat);
        }
        token.commit();
        bench.until("a token", |bench| {
            bench[program].heard.said.iter().find_map(|said| match said {
                Said::Token(token) => Some(token.clone()),
                _ => None,
            })
        })
    };
    let activation: XdgActivationV1 = bench[one].bind(1);
    let entered = Said::KeyboardEnter(window.panel.id());
    bench[one].heard.said.clear();
    // Without an event, and by one that has not the keyboard, whatever number it makes up.
    for refused in [token(&mut bench, other, None), token(&mut bench, one, Some(u32::MAX / 4))] {
        activation.activate(refused, &window.panel.surface);
        bench.settle();
        assert!(!bench[one].heard.said.contains(&entered));
    }
    // By the one that was just clicked.
    let serial = bench.press(other, 800.0, 300.0);
    bench.release();
    let given = token(&mut bench, other, Some(serial));
    activation.activate(given.clone(), &window.panel.surface);
    bench.until_said(one, &entered);
    // A token is good for once.
    bench.click(800.0, 300.0);
    bench[one].heard.said.clear();
    activation.activate(given, &window.panel.surface);
    bench.settle();
    assert!(!bench[one].heard.said.contains(&entered));
}

#[test]
fn idleness_is_told_and_ends_with_any_input_and_a_film_holds_it_off() {
    let mut bench = Bench::new();
    let (watcher, player) = (bench.program(), bench.program());
    let handle = bench[watcher].handle.clone();
    let notifier: ExtIdleNotifierV1 = bench[watcher].bind(1);
    let seat = bench[watcher].seat.clone();
    notifier.get_idle_notification(50, &seat, &handle, ());
    bench.until_said(watcher, &Said::Idled);
    bench.move_to(10.0, 10.0);
    bench.until_said(watcher, &Said::Resumed);
    bench[watcher].heard.said.clear();
    bench.until_said(watcher, &Said::Idled);
    bench.key(KEY_A);
    bench.until_said(watcher, &Said::Resumed);

    let film = bench.window(player, RED);
    let inhibit: ZwpIdleInhibitManagerV1 = bench[player].bind(1);
    let handle = bench[player].handle.clone();
    let inhibitor = inhibit.create_inhibitor(&film.panel.surface, &handle, ());
    bench.settle();
    bench[watcher].heard.said.clear();
    let started = std::time::Instant::now();
    while started.elapsed() < std::time::Duration::from_millis(300) {
        bench.turn();
    }
    assert!(!bench[watcher].heard.said.contains(&Said::Idled));
    inhibitor.destroy();
    bench.until_said(watcher, &Said::Idled);
}

#[test]
fn clients_are_told_when_their_pictures_are_on_the_screen() {
    let mut bench = Bench::new();
    let program = bench.program();
    let window = bench.window(program, RED);
    let handle = bench[program].handle.clone();
    let presentation: WpPresentation = bench[program].bind(1);
    bench.until_said(program, &Said::Clock(1));
    let mut shown = Vec::new();
    for _ in 0..3 {
        bench[program].heard.said.clear();
        presentation.feedback(&window.panel.surface, &handle, ());
        window.panel.draw();
        let presented = bench.until("it is presented", |bench| {
            bench[program].heard.said.iter().find_map(|said| match said {
                Said::Presented { time_ns, refresh_ns, sequence, .. } => {
                    Some((*time_ns, *refresh_ns, *sequence))
                }
                _ => None,
            })
        });
        shown.push(presented);
    }
    assert!(shown.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].2 < pair[1].2), "{shown:?}");
    assert!(shown.iter().all(|(_, refresh, _)| *refresh == 16_666_666), "{shown:?}");
}

#[test]
fn a_window_is_told_how_large_to_draw_itself_before_it_draws() {
    let mut bench = Bench::new();
    let program = bench.program();
    let handle = bench[program].handle.clone();
    let manager: WpFractionalScaleManagerV1 = bench[program].bind(1);
    let panel = bench[program].panel((10, 10), RED);
    manager.get_fractional_scale(&panel.surface, &handle, ());
    // In 120ths.
    bench.until_said(program, &Said::PreferredScale(120));
}

#[test]
fn a_clipboard_manager_gives_and_takes_without_a_window() {
    let mut bench = Bench::new();
    let (manager, program) = (bench.program(), bench.program());
    let handle = bench[program].handle.clone();
    let devices: WlDataDeviceManager = bench[program].bind(3);
    let seat = bench[program].seat.clone();
    devices.get_data_device(&seat, &handle, ());
    let _window = bench.window(program, RED);

    let control: ExtDataControlManagerV1 = bench[manager].bind(1);
    let handle = bench[manager].handle.clone();
    let source = control.create_data_source(&handle, ());
    source.offer("text/plain".into());
    let device = control.get_data_device(&bench[manager].seat.clone(), &handle, ());
    device.set_selection(Some(&source));
    bench.until_said(program, &Said::Selection(true));
    let offer = bench[program].heard.offer.clone().expect("an offer");
    let (mut read, write) = std::io::pipe().expect("a pipe");
    offer.receive("text/plain".into(), write.as_fd());
    drop(write);
    let (kind, file) = bench.until("somebody wants it", |bench| bench[manager].heard.wanted.pop());
    assert_eq!(kind, "text/plain");
    std::fs::File::from(file).write_all(b"4096 bytes").expect("written");
    let mut text = String::new();
    read.read_to_string(&mut text).expect("read");
    assert_eq!(text, "4096 bytes");
}

#[test]
fn windows_are_listed_with_their_titles() {
    let mut bench = Bench::new();
    let (bar, program) = (bench.program(), bench.program());
    let _list: ExtForeignToplevelListV1 = bench[bar].bind(1);
    bench.settle();
    let window = bench.window(program, RED);
    window.toplevel.set_title("a terminal".into());
    bench.until_said(bar, &Said::Title("a terminal".into()));
    window.toplevel.destroy();
    window.xdg.destroy();
    bench.until_said(bar, &Said::ToplevelClosed);
}

#[test]
fn a_finger_is_the_clients_that_it_comes_down_on() {
    let mut bench = Bench::new();
    let (one, other) = (bench.program(), bench.program());
    let window = bench.window(one, RED);
    let _front = bench.window(other, BLUE);
    bench.compositor.puppet().touch_down(0, 30.0, 40.0);
    bench.until_said(one, &Said::TouchDown(window.panel.id(), 30.0, 40.0));
    bench.until_said(one, &Said::KeyboardEnter(window.panel.id()));
    bench.compositor.puppet().touch_up(0);
}

#[test]
fn every_protocol_is_there_and_those_with_power_over_others_too() {
    let mut bench = Bench::new();
    let program = bench.program();
    for interface in [
        "wp_alpha_modifier_v1",
        "wp_content_type_manager_v1",
        "wp_fifo_manager_v1",
        "wp_commit_timing_manager_v1",
        "wp_cursor_shape_manager_v1",
        "zwp_tablet_manager_v2",
        "zwp_text_input_manager_v3",
        "zwp_input_method_manager_v2",
        "zwp_virtual_keyboard_manager_v1",
        "zwp_pointer_gestures_v1",
        "zwlr_data_control_manager_v1",
        "ext_data_control_manager_v1",
        "zxdg_exporter_v2",
        "zxdg_importer_v2",
        "xdg_wm_dialog_v1",
        "zxdg_decoration_manager_v1",
        "org_kde_kwin_server_decoration_manager",
    ] {
        assert!(bench[program].sees(interface), "{interface}");
    }
    assert_eq!(bench[program].error(), None);
    assert!(bench[program].pointer.is_alive());
}

#[test]
fn what_is_dragged_is_seen_and_dropped_where_the_pointer_is() {
    let mut bench = Bench::new();
    let (from, to) = (bench.program(), bench.program());
    let devices = |bench: &Bench, program: usize| {
        let manager: WlDataDeviceManager = bench[program].bind(3);
        let handle = &bench[program].handle;
        let device = manager.get_data_device(&bench[program].seat, handle, ());
        (manager.create_data_source(handle, ()), device)
    };
    let window = bench.window(from, RED);
    let target = bench.window(to, BLUE);
    let (source, device) = devices(&bench, from);
    let (_unused, _theirs) = devices(&bench, to);
    source.offer("text/plain".into());
    source.set_actions(DndAction::Copy);
    let serial = bench.press(from, 100.0, 100.0);
    let icon = bench[from].panel((30, 30), WHITE);
    device.start_drag(Some(&source), &window.panel.surface, Some(&icon.surface), serial);
    icon.draw();
    // Not where the pointer's own image is.
    bench.until_colour("the icon at the pointer", 100, 129, WHITE);
    bench.move_to(700.0, 300.0);
    bench.until_said(to, &Said::DragEnter(target.panel.id()));
    bench.until_colour("it goes with it", 700, 329, WHITE);
    let offer = bench[to].heard.offer.clone().expect("an offer");
    offer.accept(0, Some("text/plain".into()));
    offer.set_actions(DndAction::Copy, DndAction::Copy);
    bench.settle();
    bench.release();
    bench.until_said(to, &Said::Dropped);
    bench.until_said(from, &Said::DropPerformed);
    bench.until_colour("the icon is gone", 700, 329, BLUE);
}

#[test]
fn a_program_that_wants_the_hotkeys_has_them_until_the_person_takes_them_back() {
    let mut bench = Bench::new();
    let program = bench.program();
    let window = bench.window(program, RED);
    let manager: ZwpKeyboardShortcutsInhibitManagerV1 = bench[program].bind(1);
    let (seat, handle) = (bench[program].seat.clone(), bench[program].handle.clone());
    let _inhibitor = manager.inhibit_shortcuts(&window.panel.surface, &seat, &handle, ());
    bench.until_said(program, &Said::ShortcutsInhibited(true));
    let chord = |bench: &mut Bench, key| {
        bench[program].heard.said.clear();
        bench.compositor.puppet().key(KEY_SUPER, true);
        bench.key(key);
        bench.compositor.puppet().key(KEY_SUPER, false);
        bench.settle();
    };
    chord(&mut bench, KEY_H);
    assert!(bench[program].heard.said.contains(&Said::Key(KEY_H, true)), "it is the program's");
    assert_eq!(bench.compositor.overlay(), None);

    chord(&mut bench, KEY_ESCAPE);
    bench.until_said(program, &Said::ShortcutsInhibited(false));
    assert!(!bench[program].heard.said.contains(&Said::Key(KEY_ESCAPE, true)), "this one is never");
    chord(&mut bench, KEY_H);
    assert_eq!(bench.compositor.overlay(), Some(OverlayKind::Hotkeys));
    assert!(!bench[program].heard.said.contains(&Said::Key(KEY_H, true)));
    chord(&mut bench, KEY_H);

    // Another window has not asked.
    chord(&mut bench, KEY_ESCAPE);
    bench.until_said(program, &Said::ShortcutsInhibited(true));
    let _other = bench.window(program, BLUE);
    chord(&mut bench, KEY_H);
    assert_eq!(bench.compositor.overlay(), Some(OverlayKind::Hotkeys));
}

/// Four refreshes a second: what is counted in refreshes does not depend on how fast this machine is.
fn slow_refresh(bench: &mut Bench) {
    let mode = ModeChoice::Listed { width: 900, height: 600, refresh_mhz: Some(4000) };
    let rule = OutputRule { mode: Some(mode), ..OutputRule::default() };
    let settings = Settings { outputs: vec![rule], ..Settings::default() };
    bench.compositor.set_settings(settings).expect("a virtual output has every mode");
}

#[test]
fn a_picture_for_a_moment_comes_with_the_first_refresh_after_it() {
    let mut bench = Bench::new();
    slow_refresh(&mut bench);
    let (program, other) = (bench.program(), bench.program());
    let window = bench.window(program, RED);
    // There are frames all the time, and none of them takes the picture along too early.
    let busy = bench.window(other, BLUE);
    let handle = bench[program].handle.clone();
    let presentation: WpPresentation = bench[program].bind(1);
    let timing: WpCommitTimingManagerV1 = bench[program].bind(1);
    let timer = timing.get_timer(&window.panel.surface, &handle, ());
    for ahead_ms in [0, 90, 330, 610] {
        let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a clock"));
        let moment = now + Duration::from_millis(ahead_ms);
        bench[program].heard.said.clear();
        timer.set_timestamp((moment.as_secs() >> 32) as u32, moment.as_secs() as u32, moment.subsec_nanos());
        presentation.feedback(&window.panel.surface, &handle, ());
        window.panel.draw();
        let (at, refresh) = bench.until("it is presented", |bench| {
            busy.panel.draw();
            bench[program].heard.said.iter().find_map(|said| match said {
                Said::Presented { time_ns, refresh_ns, .. } => Some((*time_ns, u128::from(*refresh_ns))),
                _ => None,
            })
        });
        let moment = moment.as_nanos();
        assert!(at >= moment, "{ahead_ms} ms ahead, {} ns too early", moment - at);
        // What is asked for so late may find the frame for it on its way already, and the next one just begun.
        let missed = match ahead_ms {
            0 => 2,
            90 => 1,
            _ => 0,
        };
        let late = at - moment;
        assert!(late < (1 + missed) * refresh, "{ahead_ms} ms ahead, {late} ns too late");
    }
    timer.set_timestamp(u32::MAX, 0, 0);
    bench.settle();
    assert_eq!(bench[program].error(), Some(("wp_commit_timer_v1".into(), 0)), "no such time");
    assert_eq!(bench[other].error(), None);
}

#[test]
fn a_window_is_captured_by_itself_whatever_hides_it_and_not_behind_a_lock() {
    let mut bench = Bench::new();
    let (viewer, program, other) = (bench.program(), bench.program(), bench.program());
    let _list: ExtForeignToplevelListV1 = bench[viewer].bind(1);
    let window = bench.window(program, RED);
    let listed = bench.until("it is listed", |bench| bench[viewer].heard.listed.first().cloned());
    let cover = bench.window(other, BLUE);
    cover.toplevel.set_fullscreen(None);
    bench.until_colour("nothing else is to be seen", 20, 20, BLUE);
    // Alone among the tiles, and hidden, it is as large as the screen.
    bench.until_said(program, &Said::Configured(window.panel.id(), 900, 600));
    bench.settle();
    let size = (900, 600);
    let session = bench[viewer].look_at(&listed);
    bench.until_said(viewer, &Said::CaptureSize(size.0, size.1));
    let memory = bench[viewer].shared(size);
    let frame = bench[viewer].capture(&session, &memory);
    bench.until_said(viewer, &Said::CaptureReady);
    assert!(memory.pixels().iter().all(|pixel| *pixel == RED), "all of it, and nothing else");
    frame.destroy();

    // The next picture is one of something new, which what lies over it is not.
    bench[viewer].heard.said.clear();
    let frame = bench[viewer].capture(&session, &memory);
    cover.panel.draw();
    bench.settle();
    assert!(!bench[viewer].heard.said.contains(&Said::CaptureReady));
    window.panel.draw();
    bench.until_said(viewer, &Said::CaptureReady);
    frame.destroy();

    let manager: ExtSessionLockManagerV1 = bench[other].bind(1);
    let handle = bench[other].handle.clone();
    let lock = manager.lock(&handle, ());
    bench.until_said(other, &Said::SessionLocked);
    let frame = bench[viewer].capture(&session, &memory);
    bench.until_said(viewer, &Said::CaptureFailed);
    frame.destroy();
    lock.unlock_and_destroy();

    window.toplevel.destroy();
    window.xdg.destroy();
    bench.until_said(viewer, &Said::CaptureStopped);
    assert_eq!(bench[viewer].error(), None);
}
