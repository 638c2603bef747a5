//! The `memory-glass` binary.
fn main() {}
