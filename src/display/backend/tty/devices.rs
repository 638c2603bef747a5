//! Input devices get what a person has set; what is not set is what the device has by itself.

use smithay::reexports::input::{
    AccelProfile, ClickMethod, Device, DeviceCapability, DeviceConfigError, ScrollButtonLockState,
    ScrollMethod, SendEventsMode, TapButtonMap,
};
use tracing::{debug, warn};

use crate::display::settings::{self, Mouse, Settings, Tablet, TapButtons, TouchRule, Touchpad};

/// Sets one device. One that has no such setting stays as it is.
pub(super) fn configure(device: &mut Device, settings: &Settings) {
    if device.config_tap_finger_count() > 0 {
        touchpad(device, &settings.touchpad);
    } else if device.has_capability(DeviceCapability::Touch) {
        let rule = settings.touch_rule(device.name().as_ref()).cloned().unwrap_or_default();
        touch(device, &rule);
    } else if device.has_capability(DeviceCapability::TabletTool) {
        tablet(device, &settings.tablet);
    } else if device.has_capability(DeviceCapability::Pointer) {
        mouse(device, &settings.mouse);
    } else {
        return;
    }
    debug!(
        device = %device.name(), natural_scroll = device.config_scroll_natural_scroll_enabled(),
        left_handed = device.config_left_handed(), accel_speed = device.config_accel_speed(),
        tap = device.config_tap_enabled(), scroll = ?device.config_scroll_method(),
        calibration = ?device.config_calibration_matrix(), "input device set"
    );
}

/// The answers of a device to what it was asked to do, by the names of the options.
type Answers = Vec<(&'static str, Result<(), DeviceConfigError>)>;

fn touchpad(device: &mut Device, wanted: &Touchpad) {
    let drag = wanted.tap_and_drag.unwrap_or(device.config_tap_default_drag_enabled());
    let lock = wanted.drag_lock.unwrap_or(device.config_tap_default_drag_lock_enabled());
    let mut answers: Answers = vec![
        ("tap", device.config_tap_set_enabled(wanted.tap)),
        ("tap-and-drag", device.config_tap_set_drag_enabled(drag)),
        ("drag-lock", device.config_tap_set_drag_lock_enabled(lock)),
    ];
    let buttons = match wanted.tap_buttons {
        Some(TapButtons::LeftRightMiddle) => Some(TapButtonMap::LeftRightMiddle),
        Some(TapButtons::LeftMiddleRight) => Some(TapButtonMap::LeftMiddleRight),
        None => device.config_tap_default_button_map(),
    };
    if let Some(buttons) = buttons {
        answers.push(("tap-buttons", device.config_tap_set_button_map(buttons)));
    }
    if device.config_dwt_is_available() {
        let typing = wanted.disable_while_typing.unwrap_or(device.config_dwt_default_enabled());
        answers.push(("disable-while-typing", device.config_dwt_set_enabled(typing)));
    }
    let click = match wanted.click_method {
        Some(settings::ClickMethod::ButtonAreas) => Some(ClickMethod::ButtonAreas),
        Some(settings::ClickMethod::Clickfinger) => Some(ClickMethod::Clickfinger),
        None => device.config_click_default_method(),
    };
    if let Some(click) = click {
        answers.push(("click-method", device.config_click_set_method(click)));
    }
    let events = match (wanted.off, wanted.off_with_mouse) {
        (true, _) => SendEventsMode::DISABLED,
        (false, true) => SendEventsMode::DISABLED_ON_EXTERNAL_MOUSE,
        (false, false) => SendEventsMode::ENABLED,
    };
    send_events(device, events, &mut answers);
    middle_button(device, wanted.middle_emulation, &mut answers);
    scroll(device, wanted.scroll_method, wanted.scroll_button, wanted.natural_scroll, &mut answers);
    hand(device, wanted.left_handed, &mut answers);
    acceleration(device, wanted.accel_speed, wanted.accel_profile, &mut answers);
    report(device, &answers);
}

fn mouse(device: &mut Device, wanted: &Mouse) {
    let mut answers = Vec::new();
    send_events(device, on_or_off(wanted.off), &mut answers);
    middle_button(device, wanted.middle_emulation, &mut answers);
    scroll(device, wanted.scroll_method, wanted.scroll_button, wanted.natural_scroll, &mut answers);
    if device.config_scroll_methods().contains(&ScrollMethod::OnButtonDown) {
        let lock = match wanted.scroll_button_lock {
            Some(true) => ScrollButtonLockState::Enabled,
            Some(false) => ScrollButtonLockState::Disabled,
            None => device.config_scroll_default_button_lock(),
        };
        answers.push(("scroll-button-lock", device.config_scroll_set_button_lock(lock)));
    }
    hand(device, wanted.left_handed, &mut answers);
    acceleration(device, wanted.accel_speed, wanted.accel_profile, &mut answers);
    report(device, &answers);
}

fn touch(device: &mut Device, wanted: &TouchRule) {
    let mut answers = Vec::new();
    send_events(device, on_or_off(wanted.off), &mut answers);
    calibration(device, wanted.calibration, &mut answers);
    report(device, &answers);
}

fn tablet(device: &mut Device, wanted: &Tablet) {
    let mut answers = Vec::new();
    hand(device, wanted.left_handed, &mut answers);
    calibration(device, wanted.calibration, &mut answers);
    report(device, &answers);
}

fn on_or_off(off: bool) -> SendEventsMode {
    if off { SendEventsMode::DISABLED } else { SendEventsMode::ENABLED }
}

fn send_events(device: &mut Device, mode: SendEventsMode, answers: &mut Answers) {
    // Every device can be on; what else it can is said.
    if mode == SendEventsMode::ENABLED || device.config_send_events_modes().contains(mode) {
        answers.push(("off", device.config_send_events_set_mode(mode)));
    }
}

fn calibration(device: &mut Device, matrix: Option<[f32; 6]>, answers: &mut Answers) {
    if !device.config_calibration_has_matrix() {
        return;
    }
    let identity = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
    let matrix = matrix.or_else(|| device.config_calibration_default_matrix()).unwrap_or(identity);
    answers.push(("calibration", device.config_calibration_set_matrix(matrix)));
}

fn middle_button(device: &mut Device, wanted: Option<bool>, answers: &mut Answers) {
    if device.config_middle_emulation_is_available() {
        let emulation = wanted.unwrap_or(device.config_middle_emulation_default_enabled());
        answers.push(("middle-emulation", device.config_middle_emulation_set_enabled(emulation)));
    }
}

fn scroll(
    device: &mut Device,
    method: Option<settings::ScrollMethod>,
    button: Option<u32>,
    natural: Option<bool>,
    answers: &mut Answers,
) {
    let method = match method {
        Some(settings::ScrollMethod::NoScroll) => Some(ScrollMethod::NoScroll),
        Some(settings::ScrollMethod::TwoFinger) => Some(ScrollMethod::TwoFinger),
        Some(settings::ScrollMethod::Edge) => Some(ScrollMethod::Edge),
        Some(settings::ScrollMethod::OnButtonDown) => Some(ScrollMethod::OnButtonDown),
        None => device.config_scroll_default_method(),
    };
    if let Some(method) = method {
        answers.push(("scroll-method", device.config_scroll_set_method(method)));
    }
    if device.config_scroll_methods().contains(&ScrollMethod::OnButtonDown) {
        let button = button.unwrap_or(device.config_scroll_default_button());
        answers.push(("scroll-button", device.config_scroll_set_button(button)));
    }
    if device.config_scroll_has_natural_scroll() {
        let natural = natural.unwrap_or(device.config_scroll_default_natural_scroll_enabled());
        answers.push(("natural-scroll", device.config_scroll_set_natural_scroll_enabled(natural)));
    }
}

fn hand(device: &mut Device, left: Option<bool>, answers: &mut Answers) {
    if device.config_left_handed_is_available() {
        let left = left.unwrap_or(device.config_left_handed_default());
        answers.push(("left-handed", device.config_left_handed_set(left)));
    }
}

fn acceleration(
    device: &mut Device,
    speed: Option<f64>,
    profile: Option<settings::AccelProfile>,
    answers: &mut Answers,
) {
    if !device.config_accel_is_available() {
        return;
    }
    let profile = match profile {
        Some(settings::AccelProfile::Adaptive) => Some(AccelProfile::Adaptive),
        Some(settings::AccelProfile::Flat) => Some(AccelProfile::Flat),
        None => device.config_accel_default_profile(),
    };
    if let Some(profile) = profile {
        answers.push(("accel-profile", device.config_accel_set_profile(profile)));
    }
    let speed = speed.unwrap_or(device.config_accel_default_speed());
    answers.push(("accel-speed", device.config_accel_set_speed(speed)));
}

fn report(device: &Device, answers: &Answers) {
    for (option, answer) in answers {
        if let Err(error) = answer {
            warn!(device = %device.name(), option, ?error, "an input device refuses a setting");
        }
    }
}
