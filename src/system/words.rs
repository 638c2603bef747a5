//! Numbers as people read them.

use std::time::Duration;

/// Below this accuracy a picture says that it is poor, and what would be better.
pub(in crate::system) const POOR: f64 = 0.7;

/// What is said of a poor map in lines of words, where there is one.
pub(crate) fn poor(accuracy: Option<f64>) -> Option<&'static str> {
    let said = "less than 70 % of the map is right: --exact shows all of it, a larger --slowdown-budget more";
    accuracy.filter(|value| *value < POOR).map(|_| said)
}

/// 1234567 as "1 234 567", with narrow no-break spaces as ISO 80000-1 asks.
pub(in crate::system) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 * 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// Bytes with a binary unit, three digits at most before the point.
pub(in crate::system) fn bytes(value: f64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut value, mut unit) = (value, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 100.0 { 0 } else { 1 };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// "12 s", "3 min", "2 h".
pub(in crate::system) fn ago(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

/// "1:05" for sixty-five seconds.
pub(in crate::system) fn clock(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_words() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1000, "1\u{202f}000"), (1_234_567, "1\u{202f}234\u{202f}567")]
        {
            assert_eq!(thousands(number), text);
        }
        assert_eq!(
            (bytes(512.0), bytes(4096.0), bytes(1e9)),
            ("512 B".into(), "4.0 KiB".into(), "954 MiB".into())
        );
        assert_eq!(ago(Duration::from_secs(119)), "119 s");
        assert_eq!(ago(Duration::from_secs(7199)), "119 min");
        assert_eq!(clock(Duration::from_secs(3665)), "61:05");
    }
}
