//! Words of others as text that can be shown.
//!
//! A process, a window, a file or a recording is named by whoever made it, and a terminal obeys what it is
//! sent. What people are shown goes through here; what programs are handed stays as it is, byte for byte.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// Text that holds nothing but what can be seen: everything else is written out, as `\x1b` or `\u{202e}`.
///
/// ```
/// # use memory_glass::plain::Plain;
/// assert_eq!(Plain("a\u{1b}[31m\nb").to_string(), "a\\x1b[31m\\nb");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Plain<T>(pub T);

impl<T: fmt::Display> fmt::Display for Plain<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Through a text of its own, so that a width counts what is shown.
        f.pad(&plain(&self.0.to_string()))
    }
}

/// The text itself where all of it can be shown, which is nearly always.
pub fn plain(text: &str) -> Cow<'_, str> {
    written_out(text, |_| false)
}

/// As [`plain`], of a text that has lines of its own.
pub fn plain_lines(text: &str) -> Cow<'_, str> {
    written_out(text, |character| character == '\n')
}

/// JSON whose strings hold only what can be shown: the same values, with `\u` escapes in the place of what
/// cannot.
pub fn plain_json(json: &str) -> Cow<'_, str> {
    if !json.contains(is_unseen) {
        return Cow::Borrowed(json);
    }
    let mut text = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        // serde_json escapes what stands in a string below U+0020: all that is left of that lies between the
        // values.
        if is_unseen(character) && !character.is_ascii_whitespace() {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        } else {
            text.push(character);
        }
    }
    Cow::Owned(text)
}

/// The values of a JSON document with every string as [`plain`] has it.
pub(crate) fn plain_values(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) => {
            if let Cow::Owned(shown) = plain(text) {
                *text = shown;
            }
        }
        serde_json::Value::Array(values) => values.iter_mut().for_each(plain_values),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(plain_values),
        _ => {}
    }
}

fn written_out(text: &str, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
    let unseen = |character: char| is_unseen(character) && !stays(character);
    if !text.contains(unseen) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            _ if !unseen(character) => shown.push(character),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            // Writing to a string does not fail.
            '\0'..='\u{7f}' => drop(write!(shown, "\\x{:02x}", u32::from(character))),
            _ => drop(write!(shown, "\\u{{{:x}}}", u32::from(character))),
        }
    }
    Cow::Owned(shown)
}

/// Whether a terminal obeys it, or it changes how the text around it is read: controls, line separators, the
/// marks that turn the direction of writing, and what is there but never seen.
fn is_unseen(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{61c}' | '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_seen_stays_and_nothing_else_does() {
        for shown in ["redis-server", "größer", "日本語", "\u{5d0}\u{5d1}", "a\u{200d}b", "C:\\x1b", ""]
        {
            assert!(matches!(plain(shown), Cow::Borrowed(text) if text == shown), "{shown:?}");
        }
        assert_eq!(plain("x\u{1b}]0;hi\u{7}"), "x\\x1b]0;hi\\x07");
        assert_eq!(plain("a\nb\r\tc\u{7f}\u{9b}1m"), "a\\nb\\r\\tc\\x7f\\u{9b}1m");
        assert_eq!(plain("evil\u{202e}gnp.exe\u{2066}"), "evil\\u{202e}gnp.exe\\u{2066}");
        assert_eq!(plain_lines("one\ntwo\u{1b}\n"), "one\ntwo\\x1b\n");
        assert_eq!(format!("{:<6}|{:>8}|", Plain("ab"), Plain("\u{1b}")), "ab    |    \\x1b|");
    }

    #[test]
    fn json_says_the_same_in_escapes() {
        let names = ["a\u{7f}b", "\u{9b}31m", "x\u{202e}y", "\u{e0041}", "\u{1b}\n", "plain ü"];
        let json = serde_json::to_string_pretty(&names).expect("strings are JSON");
        let shown = plain_json(&json);
        assert!(!shown.chars().any(|character| character.is_control() && character != '\n'), "{shown:?}");
        assert!(!shown.contains(['\u{202e}', '\u{e0041}']), "{shown:?}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&shown).expect("still JSON"), names);
        let mut values = serde_json::json!({"a": ["\u{1b}", 1, {"b": "\u{9b}"}]});
        plain_values(&mut values);
        assert_eq!(values, serde_json::json!({"a": ["\\x1b", 1, {"b": "\\u{9b}"}]}));
    }
}
