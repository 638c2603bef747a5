//! What a watch goes without.

use std::fmt;

use serde::Serialize;

/// Something that a watch goes without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LostFeature {
    /// What is missing.
    pub what: &'static str,
    /// Why, and what to do about it.
    pub reason: String,
}

impl fmt::Display for LostFeature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.reason)
    }
}
