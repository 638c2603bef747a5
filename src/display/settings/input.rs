//! Keyboards, pointers, touch screens and tablets.

use serde::{Deserialize, Deserializer, Serialize};
use smithay::input::keyboard::XkbConfig;

use super::within;

/// The layout, as xkeyboard-config(7) names it; what is empty is taken from the `XKB_DEFAULT_*` variables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Keyboard {
    /// Rules, e.g. "evdev".
    pub rules: String,
    /// Model, e.g. "pc105".
    pub model: String,
    /// Layouts, e.g. "us,de".
    pub layout: String,
    /// Variants of the layouts, e.g. ",neo".
    pub variant: String,
    /// Options, e.g. "grp:alt_shift_toggle,caps:escape".
    pub options: String,
    /// How long a key is held until it repeats, milliseconds.
    #[serde(deserialize_with = "within::<50, 10000, _>")]
    pub repeat_delay_ms: u32,
    /// Repetitions a second; none when 0.
    #[serde(deserialize_with = "within::<0, 500, _>")]
    pub repeat_rate: u32,
    /// Num lock is on at the start.
    pub num_lock: bool,
    /// Caps lock is on at the start.
    pub caps_lock: bool,
}

impl Default for Keyboard {
    fn default() -> Self {
        Self {
            rules: String::new(),
            model: String::new(),
            layout: String::new(),
            variant: String::new(),
            options: String::new(),
            repeat_delay_ms: 400,
            repeat_rate: 30,
            num_lock: false,
            caps_lock: false,
        }
    }
}

impl Keyboard {
    pub(crate) fn xkb(&self) -> XkbConfig<'_> {
        XkbConfig {
            rules: &self.rules,
            model: &self.model,
            layout: &self.layout,
            variant: &self.variant,
            options: (!self.options.is_empty()).then(|| self.options.clone()),
        }
    }

    /// Whether both need the same keymap, locked in the same way.
    pub(crate) fn same_keymap(&self, other: &Self) -> bool {
        let repeat = |keyboard: &Self| Self { repeat_delay_ms: 0, repeat_rate: 0, ..keyboard.clone() };
        repeat(self) == repeat(other)
    }

    /// Milliseconds until a key repeats, and repetitions a second.
    pub(crate) fn repeat(&self) -> (i32, i32) {
        (self.repeat_delay_ms.cast_signed(), self.repeat_rate.cast_signed())
    }
}

/// How the speed of a finger or a hand becomes that of the pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccelProfile {
    /// The faster, the further.
    Adaptive,
    /// Always the same.
    Flat,
}

/// Which button a tap of one, two and three fingers is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TapButtons {
    /// Left, right, middle.
    LeftRightMiddle,
    /// Left, middle, right.
    LeftMiddleRight,
}

/// How a touchpad whose surface is one button knows which is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClickMethod {
    /// By where on its lower edge it is pressed.
    ButtonAreas,
    /// By the number of fingers.
    Clickfinger,
}

/// What scrolls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScrollMethod {
    /// Nothing but a wheel.
    NoScroll,
    /// Two fingers.
    TwoFinger,
    /// A finger at the edge.
    Edge,
    /// A movement with a button held down.
    OnButtonDown,
}

/// Touchpads. What is `None` is as the device has it by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Touchpad {
    /// Switched off.
    pub off: bool,
    /// Switched off while a mouse is plugged in.
    pub off_with_mouse: bool,
    /// A tap is a click.
    pub tap: bool,
    /// Which buttons taps are.
    pub tap_buttons: Option<TapButtons>,
    /// A tap and then a movement drag.
    pub tap_and_drag: Option<bool>,
    /// The drag goes on when the finger is lifted for a moment.
    pub drag_lock: Option<bool>,
    /// The content follows the fingers.
    pub natural_scroll: Option<bool>,
    /// Nothing moves while the keyboard is used.
    pub disable_while_typing: Option<bool>,
    /// Left and right button change places.
    pub left_handed: Option<bool>,
    /// Pressing left and right together is the middle button.
    pub middle_emulation: Option<bool>,
    /// How a surface that is one button knows which.
    pub click_method: Option<ClickMethod>,
    /// What scrolls.
    pub scroll_method: Option<ScrollMethod>,
    /// The button of [`ScrollMethod::OnButtonDown`], as `BTN_MIDDLE` (274) in the kernel's input-event-codes.h.
    pub scroll_button: Option<u32>,
    /// From -1, slowest, to 1, fastest.
    #[serde(deserialize_with = "speed")]
    pub accel_speed: Option<f64>,
    /// How speed is translated.
    pub accel_profile: Option<AccelProfile>,
}

impl Default for Touchpad {
    fn default() -> Self {
        Self {
            off: false,
            off_with_mouse: false,
            tap: true,
            tap_buttons: None,
            tap_and_drag: None,
            drag_lock: None,
            natural_scroll: None,
            disable_while_typing: None,
            left_handed: None,
            middle_emulation: None,
            click_method: None,
            scroll_method: None,
            scroll_button: None,
            accel_speed: None,
            accel_profile: None,
        }
    }
}

/// Mice. What is `None` is as the device has it by itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Mouse {
    /// Switched off.
    pub off: bool,
    /// The content follows the wheel.
    pub natural_scroll: Option<bool>,
    /// Left and right button change places.
    pub left_handed: Option<bool>,
    /// Pressing left and right together is the middle button.
    pub middle_emulation: Option<bool>,
    /// What scrolls besides the wheel.
    pub scroll_method: Option<ScrollMethod>,
    /// The button of [`ScrollMethod::OnButtonDown`], as in the kernel's input-event-codes.h.
    pub scroll_button: Option<u32>,
    /// That button need not be held.
    pub scroll_button_lock: Option<bool>,
    /// From -1, slowest, to 1, fastest.
    #[serde(deserialize_with = "speed")]
    pub accel_speed: Option<f64>,
    /// How speed is translated.
    pub accel_profile: Option<AccelProfile>,
}

/// What holds for some touch screens. One that names no device fits every one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TouchRule {
    /// The device's name, as `libinput list-devices` tells it.
    pub device: Option<String>,
    /// The output that it covers: a connector, or make, model and serial number with a blank between.
    pub output: Option<String>,
    /// Its own calibration: the first two rows of the matrix that libinput multiplies positions with, in 0..1.
    pub calibration: Option<[f32; 6]>,
    /// Switched off.
    pub off: bool,
}

impl TouchRule {
    /// Whether this rule is about that device.
    pub(crate) fn fits(&self, device: &str) -> bool {
        self.device.as_ref().is_none_or(|name| name.eq_ignore_ascii_case(device))
    }
}

/// Drawing tablets, and other pointers that cover an output.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tablet {
    /// The output that they cover, as for [`TouchRule::output`].
    pub output: Option<String>,
    /// Turned half round, for the other hand.
    pub left_handed: Option<bool>,
    /// As [`TouchRule::calibration`].
    pub calibration: Option<[f32; 6]>,
}

/// The pointer's image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CursorSettings {
    /// The theme; `$XCURSOR_THEME` when left out.
    pub theme: Option<String>,
    /// Its size in pixels; `$XCURSOR_SIZE` or 24 when left out.
    #[serde(deserialize_with = "cursor_size")]
    pub size: Option<u32>,
    /// It disappears when it was not moved for so long; never when 0.
    #[serde(deserialize_with = "within::<0, 86400000, _>")]
    pub hide_after_ms: u32,
    /// It disappears when a key is typed, until it is moved.
    pub hide_when_typing: bool,
}

fn cursor_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    within::<8, 256, _>(deserializer).map(Some)
}

fn speed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let speed = f64::deserialize(deserializer)?;
    if (-1.0..=1.0).contains(&speed) {
        Ok(Some(speed))
    } else {
        Err(serde::de::Error::custom(format!("{speed} is out of bounds: from -1.0 to 1.0 is allowed")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_touch_rule_without_a_name_is_for_all() {
        let named = TouchRule { device: Some("ELAN Touchscreen".into()), ..TouchRule::default() };
        assert!(named.fits("elan touchscreen") && !named.fits("Goodix"));
        assert!(TouchRule::default().fits("Goodix"));
    }

    #[test]
    fn another_rate_is_no_other_keymap() {
        let keyboard = Keyboard::default();
        assert!(keyboard.same_keymap(&Keyboard { repeat_rate: 1, repeat_delay_ms: 50, ..keyboard.clone() }));
        assert!(!keyboard.same_keymap(&Keyboard { layout: "de".into(), ..keyboard.clone() }));
        assert!(!keyboard.same_keymap(&Keyboard { num_lock: true, ..keyboard.clone() }));
    }
}
