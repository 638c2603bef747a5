//! The mixed belief against the nearest sample, block by block.
//!
//! Where programs write long runs nothing beats the state of the nearest sample, and a belief that is right nearly always
//! still adds errors. Where they write scattered pages it is the other way round. Each regular sample tells how both
//! would have foretold it; the belief is used in a block only while it is the better one there.

use super::rates::BLOCK;

/// A block keeps this share of its errors from window to window.
const KEEP: f32 = 0.5;
/// So many unseen pages must the belief have been better on.
const MARGIN: f32 = 0.5;

/// Errors of both, in unseen pages.
#[derive(Debug, Clone, Copy, Default)]
struct Errors {
    nearest: f32,
    belief: f32,
}

/// The errors by block.
#[derive(Debug, Clone)]
pub(super) struct Duel(Vec<Errors>);

impl Duel {
    pub(super) fn new(pages: usize) -> Self {
        Self(vec![Errors::default(); pages.div_ceil(BLOCK)])
    }

    /// Begins a window.
    pub(super) fn fade(&mut self) {
        for errors in &mut self.0 {
            *errors = Errors { nearest: KEEP * errors.nearest, belief: KEEP * errors.belief };
        }
    }

    /// Takes a sample that stands for `weight` unseen pages of its block.
    pub(super) fn sample(&mut self, place: usize, weight: f32, nearest_errs: bool, belief_errs: bool) {
        let errors = &mut self.0[place / BLOCK];
        errors.nearest += weight * f32::from(u8::from(nearest_errs));
        errors.belief += weight * f32::from(u8::from(belief_errs));
    }

    /// Whether the belief is the better guide at `place`.
    pub(super) fn belief_wins(&self, place: usize) -> bool {
        let errors = self.0[place / BLOCK];
        errors.nearest > 0.0 && errors.belief + MARGIN <= errors.nearest
    }

    /// Follows the blocks to a line of `pages`; `before` says where a block was, if it was.
    pub(super) fn relay(&mut self, pages: usize, before: impl Fn(usize) -> Option<usize>) {
        let next = (0..pages.div_ceil(BLOCK))
            .map(|block| before(block).and_then(|old| self.0.get(old)).copied().unwrap_or_default());
        self.0 = next.collect();
    }
}
