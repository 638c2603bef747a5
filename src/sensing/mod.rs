//! (being built)

/// How much of each cell is written, 0 (cold) to 1 (every page, all the time): 2^k × 2^k, indexed `[y][x]`.
pub type DensityMap = ndarray::Array2<f32>;
