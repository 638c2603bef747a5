//! One of the readers of `memory_glass::system::fuzz`, the one that `$READER` names, under libFuzzer.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use memory_glass::system::fuzz::{READERS, Reader};

static READER: LazyLock<Reader> = LazyLock::new(|| {
    let wanted = std::env::var("READER").unwrap_or_default();
    let found = READERS.iter().find(|(name, _)| *name == wanted);
    found.unwrap_or_else(|| panic!("READER is one of {:?}", READERS.map(|(name, _)| name))).1
});

fuzz_target!(|bytes: &[u8]| READER(bytes));
