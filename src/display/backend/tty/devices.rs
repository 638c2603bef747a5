//! Touchpads and mice get what a person has set; what is not set is what the device has by itself.

use smithay::reexports::input::{AccelProfile, Device, DeviceCapability, DeviceConfigError};
use tracing::{debug, warn};

use crate::display::settings::{self, Mouse, Settings, Touchpad};

/// Sets one device. One that has no such setting stays as it is.
pub(super) fn configure(device: &mut Device, settings: &Settings) {
    if device.config_tap_finger_count() > 0 {
        touchpad(device, &settings.touchpad);
    } else if device.has_capability(DeviceCapability::Pointer) {
        mouse(device, &settings.mouse);
    } else {
        return;
    }
    debug!(
        device = %device.name(), natural_scroll = device.config_scroll_natural_scroll_enabled(),
        left_handed = device.config_left_handed(), accel_speed = device.config_accel_speed(), "input device set"
    );
}

fn touchpad(device: &mut Device, wanted: &Touchpad) {
    let drag = wanted.tap_and_drag.unwrap_or(device.config_tap_default_drag_enabled());
    let typing = wanted.disable_while_typing.unwrap_or(device.config_dwt_default_enabled());
    let answers = [
        ("tap", device.config_tap_set_enabled(wanted.tap)),
        ("tap-and-drag", device.config_tap_set_drag_enabled(drag)),
    ];
    report(device, &answers);
    if device.config_dwt_is_available() {
        let answer = device.config_dwt_set_enabled(typing);
        report(device, &[("disable-while-typing", answer)]);
    }
    scroll_and_hand(device, wanted.natural_scroll, wanted.left_handed);
    acceleration(device, wanted.accel_speed, wanted.accel_profile);
}

fn mouse(device: &mut Device, wanted: &Mouse) {
    if device.config_middle_emulation_is_available() {
        let emulation = wanted.middle_emulation.unwrap_or(device.config_middle_emulation_default_enabled());
        let answer = device.config_middle_emulation_set_enabled(emulation);
        report(device, &[("middle-emulation", answer)]);
    }
    scroll_and_hand(device, wanted.natural_scroll, wanted.left_handed);
    acceleration(device, wanted.accel_speed, wanted.accel_profile);
}

fn scroll_and_hand(device: &mut Device, natural: Option<bool>, left: Option<bool>) {
    if device.config_scroll_has_natural_scroll() {
        let natural = natural.unwrap_or(device.config_scroll_default_natural_scroll_enabled());
        let answer = device.config_scroll_set_natural_scroll_enabled(natural);
        report(device, &[("natural-scroll", answer)]);
    }
    if device.config_left_handed_is_available() {
        let answer = device.config_left_handed_set(left.unwrap_or(device.config_left_handed_default()));
        report(device, &[("left-handed", answer)]);
    }
}

fn acceleration(device: &mut Device, speed: Option<f64>, profile: Option<settings::AccelProfile>) {
    if !device.config_accel_is_available() {
        return;
    }
    let profile = match profile {
        Some(settings::AccelProfile::Adaptive) => Some(AccelProfile::Adaptive),
        Some(settings::AccelProfile::Flat) => Some(AccelProfile::Flat),
        None => device.config_accel_default_profile(),
    };
    if let Some(profile) = profile {
        let answer = device.config_accel_set_profile(profile);
        report(device, &[("accel-profile", answer)]);
    }
    let answer = device.config_accel_set_speed(speed.unwrap_or(device.config_accel_default_speed()));
    report(device, &[("accel-speed", answer)]);
}

fn report(device: &Device, answers: &[(&str, Result<(), DeviceConfigError>)]) {
    for (option, answer) in answers {
        if let Err(error) = answer {
            warn!(device = %device.name(), option, ?error, "an input device refuses a setting");
        }
    }
}
