//! The curve for use: single cells and many at once.

use super::{HilbertCapability, MIN_ORDER, bits, locality};
use crate::GlassRamError;

/// The largest curve of [`HilbertCurve`]: its indices fill 32 bits.
pub const MAX_CURVE_ORDER: u32 = 16;

/// Why there is no [`HilbertCurve`] as it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CurveError {
    /// An order outside [`MIN_ORDER`]`..=`[`MAX_CURVE_ORDER`].
    #[error(
        "a Hilbert curve has an order from {MIN_ORDER} to {MAX_CURVE_ORDER}, not {0}: choose one in that range"
    )]
    Order(u32),
    /// This CPU lacks the instructions.
    #[error("this CPU has no {0} for the Hilbert curve: leave the choice to HilbertCurve::try_new")]
    Path(HilbertPath),
}

impl From<CurveError> for GlassRamError {
    fn from(error: CurveError) -> Self {
        Self::FeatureNotSupported { feature: error.to_string() }
    }
}

/// The instructions by which [`HilbertCurve`] takes many cells at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HilbertPath {
    /// AVX-512 F and BW with GFNI: 32 cells a round.
    Avx512,
    /// AVX2: 16 cells a round.
    Avx2,
    /// Whatever the program was compiled for.
    Portable,
}

impl HilbertPath {
    /// Every path, the fastest first.
    pub const ALL: [Self; 3] = [Self::Avx512, Self::Avx2, Self::Portable];

    /// Whether this CPU can take it.
    pub fn is_available(self) -> bool {
        Kernel::detect(self).is_some()
    }
}

impl std::fmt::Display for HilbertPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Avx512 => "AVX-512 with GFNI",
            Self::Avx2 => "AVX2",
            Self::Portable => "portable",
        })
    }
}

/// A path that this CPU can take; each vector kind is a proof of its instructions.
#[derive(Debug, Clone, Copy)]
enum Kernel {
    #[cfg(target_arch = "x86_64")]
    Avx512(super::x86::Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(super::x86::Avx2),
    Portable,
}

impl Kernel {
    fn detect(path: HilbertPath) -> Option<Self> {
        match path {
            #[cfg(target_arch = "x86_64")]
            HilbertPath::Avx512 => super::x86::Avx512::detect().map(Self::Avx512),
            #[cfg(target_arch = "x86_64")]
            HilbertPath::Avx2 => super::x86::Avx2::detect().map(Self::Avx2),
            #[cfg(not(target_arch = "x86_64"))]
            HilbertPath::Avx512 | HilbertPath::Avx2 => None,
            HilbertPath::Portable => Some(Self::Portable),
        }
    }
}

/// The Hilbert curve of an order from [`MIN_ORDER`] to [`MAX_CURVE_ORDER`], fast.
///
/// Single cells go through [`HilbertCapability`]. Many at once go through [`Self::d2xy_batch`] and
/// [`Self::xy2d_batch`], by the instructions that were chosen when the curve was made; coordinates are separate columns,
/// which is how vectors want them and how a caller fills one axis at a time.
///
/// ```
/// use memory_glass::map::{HilbertCapability, HilbertCurve};
///
/// let curve = HilbertCurve::try_new(8)?;
/// let (mut xs, mut ys) = ([0; 3], [0; 3]);
/// curve.d2xy_batch(&[0, 1, 65535], &mut xs, &mut ys);
/// assert_eq!((xs, ys), ([0, 1, 255], [0, 0, 0]));
/// assert_eq!(curve.xy2d(255, 0), 65535);
/// # Ok::<(), memory_glass::map::CurveError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct HilbertCurve {
    order: u32,
    path: HilbertPath,
    kernel: Kernel,
}

impl HilbertCurve {
    /// The curve of `order` by the fastest path of this CPU.
    pub fn try_new(order: u32) -> Result<Self, CurveError> {
        let fastest = HilbertPath::ALL.into_iter().find(|path| path.is_available());
        Self::with_path(order, fastest.unwrap_or(HilbertPath::Portable))
    }

    /// The curve of `order` by `path`: for tests and measurements.
    pub fn with_path(order: u32, path: HilbertPath) -> Result<Self, CurveError> {
        if !(MIN_ORDER..=MAX_CURVE_ORDER).contains(&order) {
            return Err(CurveError::Order(order));
        }
        let kernel = Kernel::detect(path).ok_or(CurveError::Path(path))?;
        Ok(Self { order, path, kernel })
    }

    /// The curve's order.
    pub fn order(&self) -> u32 {
        self.order
    }

    /// Cells along one side.
    pub fn size(&self) -> u32 {
        1 << self.order
    }

    /// Cells in all.
    pub fn cells(&self) -> u64 {
        1 << (2 * self.order)
    }

    /// The instructions that the batches use.
    pub fn path(&self) -> HilbertPath {
        self.path
    }

    /// The cells (`xs[i]`, `ys[i]`) of `indices[i]`. Bits of an index above the curve's 2 × order are ignored.
    ///
    /// # Panics
    /// When the slices differ in length.
    pub fn d2xy_batch(&self, indices: &[u32], xs: &mut [u32], ys: &mut [u32]) {
        let count = indices.len();
        assert!(
            xs.len() == count && ys.len() == count,
            "{count} indices need columns of that length, not {} and {}",
            xs.len(),
            ys.len()
        );
        let levels = bits::levels(self.order);
        match self.kernel {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512(proof) => decode_rounds(indices, xs, ys, |d, x, y| proof.decode(d, x, y, levels)),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2(proof) => decode_rounds(indices, xs, ys, |d, x, y| proof.decode(d, x, y, levels)),
            Kernel::Portable => {
                for ((index, x), y) in indices.iter().zip(xs).zip(ys) {
                    (*x, *y) = bits::decode(*index, levels);
                }
            }
        }
    }

    /// The indices of the cells (`xs[i]`, `ys[i]`). Bits of a coordinate above the curve's order are ignored.
    ///
    /// # Panics
    /// When the slices differ in length.
    pub fn xy2d_batch(&self, xs: &[u32], ys: &[u32], indices: &mut [u32]) {
        let count = indices.len();
        assert!(
            xs.len() == count && ys.len() == count,
            "{count} indices need columns of that length, not {} and {}",
            xs.len(),
            ys.len()
        );
        let levels = bits::levels(self.order);
        match self.kernel {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512(proof) => encode_rounds(xs, ys, indices, |x, y, d| proof.encode(x, y, d, levels)),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2(proof) => encode_rounds(xs, ys, indices, |x, y, d| proof.encode(x, y, d, levels)),
            Kernel::Portable => {
                for ((x, y), index) in xs.iter().zip(ys).zip(indices) {
                    *index = bits::encode(*x, *y, levels);
                }
            }
        }
    }
}

impl HilbertCapability for HilbertCurve {
    /// The curve of `order`, up to [`MAX_CURVE_ORDER`].
    fn new(order: u32) -> Self {
        match Self::try_new(order) {
            Ok(curve) => curve,
            Err(error) => panic!("{error}"),
        }
    }

    #[inline]
    fn d2xy(&self, index: u32) -> (u32, u32) {
        debug_assert!(u64::from(index) < self.cells());
        bits::decode(index, bits::levels(self.order))
    }

    #[inline]
    fn xy2d(&self, x: u32, y: u32) -> u32 {
        debug_assert!(x < self.size() && y < self.size());
        bits::encode(x, y, bits::levels(self.order))
    }

    fn verify_locality(&self, tolerance: f32) -> bool {
        locality::is_hilbert(self.order, tolerance, |index| self.d2xy(index))
    }
}

/// Feeds columns to `round` in whole rounds; what is left at the end goes through a round of its own.
#[cfg(target_arch = "x86_64")]
fn decode_rounds<const N: usize>(
    indices: &[u32],
    xs: &mut [u32],
    ys: &mut [u32],
    round: impl Fn(&[[u32; N]], &mut [[u32; N]], &mut [[u32; N]]),
) {
    let (indices, last) = indices.as_chunks();
    let ((xs, last_xs), (ys, last_ys)) = (xs.as_chunks_mut(), ys.as_chunks_mut());
    round(indices, xs, ys);
    if !last.is_empty() {
        let (mut d, mut x, mut y) = ([[0; N]], [[0; N]], [[0; N]]);
        d[0][..last.len()].copy_from_slice(last);
        round(&d, &mut x, &mut y);
        last_xs.copy_from_slice(&x[0][..last.len()]);
        last_ys.copy_from_slice(&y[0][..last.len()]);
    }
}

/// As [`decode_rounds`], the other way.
#[cfg(target_arch = "x86_64")]
fn encode_rounds<const N: usize>(
    xs: &[u32],
    ys: &[u32],
    indices: &mut [u32],
    round: impl Fn(&[[u32; N]], &[[u32; N]], &mut [[u32; N]]),
) {
    let ((xs, last_xs), (ys, last_ys)) = (xs.as_chunks(), ys.as_chunks());
    let (indices, last) = indices.as_chunks_mut();
    round(xs, ys, indices);
    if !last.is_empty() {
        let (mut x, mut y, mut d) = ([[0; N]], [[0; N]], [[0; N]]);
        x[0][..last.len()].copy_from_slice(last_xs);
        y[0][..last.len()].copy_from_slice(last_ys);
        round(&x, &y, &mut d);
        last.copy_from_slice(&d[0][..last.len()]);
    }
}
