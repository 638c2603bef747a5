//! The list of hotkeys, as they are configured.

use crate::display::hotkey::Hotkeys;

/// Keys and what they do, a line each; those that are switched off are left out.
pub(super) fn lines(hotkeys: &Hotkeys) -> Vec<(String, String)> {
    let bound = hotkeys
        .all()
        .into_iter()
        .map(|bound| (bound.chord.to_string(), bound.words.to_owned()))
        .filter(|(chord, _)| !chord.is_empty());
    let fixed = [
        ("Super+wheel", "look into the map, and out; sideways, along it"),
        ("Super+left button", "move the map, a floating window; swap a tile"),
        ("Super+right button", "resize a floating window"),
        ("Ctrl+Alt+F1 … F12", "another virtual terminal"),
    ];
    bound.chain(fixed.map(|(keys, words)| (keys.to_owned(), words.to_owned()))).collect()
}
