//! Numbers with their units and bounds, as they are written on the command line.

use std::time::Duration;

use crate::capture::recording::SPEEDS;

pub(super) fn parse_size(text: &str) -> Result<(i32, i32), String> {
    let size =
        text.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    size.filter(|(width, height)| (64..=16_384).contains(width) && (64..=16_384).contains(height))
        .ok_or_else(|| "a size is WIDTHxHEIGHT in pixels, each from 64 to 16384, e.g. 1280x720".to_owned())
}

/// A place in a recording: as a time, and 0 is one.
pub(super) fn parse_position(text: &str) -> Result<Duration, String> {
    if text.parse() == Ok(0.0) { Ok(Duration::ZERO) } else { parse_seconds(text) }
}

pub(super) fn parse_speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok().filter(|speed| SPEEDS.contains(speed));
    speed.ok_or_else(|| format!("a speed is a factor from {} to {}, e.g. 2", SPEEDS.start(), SPEEDS.end()))
}

/// A number with a unit behind it, as one of `units` has it.
fn parse_with_unit(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = text[digits.len()..].to_ascii_lowercase();
    let factor = units.iter().find(|(name, _)| *name == unit)?.1;
    digits.parse().ok().map(|value: f64| value * factor).filter(|value| value.is_finite())
}

pub(super) fn parse_bytes(text: &str) -> Result<u64, String> {
    const KIB: f64 = 1024.0;
    let units = [("", 1.0), ("k", KIB), ("m", KIB * KIB), ("g", KIB * KIB * KIB)];
    let bytes = parse_with_unit(text, &units).filter(|bytes| (64.0 * KIB..=1e15).contains(bytes));
    bytes
        .map(|bytes| bytes as u64)
        .ok_or_else(|| "a size is a number with K, M or G, at least 64K".to_owned())
}

pub(super) fn parse_age(text: &str) -> Result<Duration, String> {
    let units = [("", 1.0), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let seconds = parse_with_unit(text, &units).filter(|seconds| (1.0..=1e9).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "a time is a number with s, m or h, at least one second".to_owned())
}

pub(super) fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "a time is a number of seconds, e.g. 2.5".to_owned())?;
    if seconds.is_finite() && seconds > 0.0 && seconds <= 1e6 {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("a time is more than 0 and at most 1000000 seconds".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_checked() {
        assert_eq!(parse_size("640x480"), Ok((640, 480)));
        for wrong in ["", "640", "x480", "640x", "-640x480", "10x10", "99999x99999", "640x480x1"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_seconds("2.5"), Ok(Duration::from_millis(2500)));
        for wrong in ["", "0", "-1", "inf", "NaN", "1e9", "soon"] {
            assert!(parse_seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bounds_positions_and_speeds_are_checked() {
        assert_eq!((parse_bytes("64M"), parse_bytes("1.5g")), (Ok(64 << 20), Ok(3 << 29)));
        assert_eq!(
            (parse_age("90"), parse_age("1.5h")),
            (Ok(Duration::from_secs(90)), Ok(Duration::from_secs(5400)))
        );
        assert_eq!((parse_position("0"), parse_speed("0.5")), (Ok(Duration::ZERO), Ok(0.5)));
        for wrong in ["", "M", "1", "-1M", "64X", "infM", "1e300G"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "0", "h", "-5m", "5d"] {
            assert!(parse_age(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "0", "-1", "NaN", "2000"] {
            assert!(parse_speed(wrong).is_err(), "{wrong}");
        }
    }
}
