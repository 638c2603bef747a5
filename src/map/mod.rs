//! From addresses to cells of the Hilbert curve.
//!
//! In comes the table of watched regions (from [`crate::capture`]); out go a line of pages in which every page has a
//! place ([`AddressLayout`]) and the transform between places on that line and cells of a square ([`HilbertCurve`]; its
//! oracle is [`HilbertSkilling`]). What is kept page by page is laid on the part of it that was ever written ([`TouchedLine`]).
//! Pure arithmetic, no input or output: [`crate::sensing`] lays written pages on it, [`crate::render`] labels it.

mod hilbert;
mod layout;
mod touched;

pub use hilbert::{
    CurveError, GpuCurveError, HilbertCapability, HilbertConfig, HilbertCurve, HilbertGpu, HilbertPath,
    HilbertSkilling, InvalidOrder, MAX_CURVE_ORDER, MAX_ORDER, MIN_ORDER,
};
pub use layout::{AddressLayout, LayoutChange, LayoutFile, PlacedRegion};
pub use touched::TouchedLine;
