//! The curve as arithmetic on whole words, every level at once.
//!
//! Level by level the curve is a machine with two bits of state: `swap` (the quadrant's axes are exchanged) and `flip`
//! (both are mirrored). With the coordinates' bits (x, y) of a level and l = x ⊕ y, the level's two bits of the index
//! are high = x ⊕ flip ⊕ (swap ∧ l) and low = l, and the state for the next level down is
//!
//! ```text
//! swap' = swap ⊕ ¬(high ⊕ low)        flip' = flip ⊕ (high ∧ low)
//! ```
//!
//! *From index to cell* both conditions are known at every level, so each state is the parity of a word's bits above
//! that level: a suffix XOR, four shifts.
//!
//! *From cell to index* `high` depends on the state. Written over the levels' coordinates, the step is affine over GF(2):
//! one of two involutions of the vectors (swap, flip) (which one: l), then adding ¬y times the vector that this
//! involution leaves alone. Two involutions of the three vectors that are not 0 are reflections of a triangle,
//! i ↦ l − i (mod 3) when (1, 0), (0, 1), (1, 1) are numbered 0, 1, 2; so what the levels above do together is an
//! alternating sum of their l, mod 3. As 2 ≡ −1, that is the remainder by 3 of l read as a number down to the level, and
//! these remainders are what long division by 3 leaves behind: one multiplication gives the quotient, and the bits of
//! quotient and l give each level's remainder. The added vectors, turned back by it, make a suffix XOR again, and `high`
//! is x ⊕ the determinant of that sum and the level's own turned vector.
//!
//! Both ways cost the same at every order, look nothing up and never branch, so that a compiler makes vectors of a loop
//! over them. The SIMD paths are the same steps on wider words. A table of four levels a look-up answers sooner where
//! each cell depends on the one before (6 against 10 to 12 ns at order 8), which no map does; in a loop it takes half as
//! long again, and a processor's first-level cache from the rest of the program.

/// ⌊2l / 3⌋ of 16 bits is `l * TWO_THIRDS >> 16`: (2¹⁷ + 1) / 3 adds less than the third that may be missing.
pub(super) const TWO_THIRDS: u32 = 0xaaab;
/// Levels 0, 2, 4, …
pub(super) const EVEN: u32 = 0x5555;

/// The lowest `order` bits: the levels of a coordinate.
#[inline(always)]
pub(super) const fn levels(order: u32) -> u32 {
    (1 << order) - 1
}

/// The cell of `index`. Of the index only the bits of `levels` count.
#[inline(always)]
pub(super) const fn decode(index: u32, levels: u32) -> (u32, u32) {
    let pair = compact(index as u64 | (index as u64 >> 1) << 32);
    let (high, low) = ((pair >> 32) as u32 & levels, pair as u32 & levels);
    let above = suffixes(!(high ^ low) & levels, high & low);
    let (swap, flip) = (above as u32, (above >> 32) as u32);
    let x = high ^ flip ^ (swap & low);
    (x, x ^ low)
}

/// The index of the cell (x, y). Of the coordinates only the bits of `levels` count.
#[inline(always)]
pub(super) const fn encode(x: u32, y: u32, levels: u32) -> u32 {
    let low = (x ^ y) & levels;
    let twice = (low * TWO_THIRDS) >> 16;
    // The lower bit of the remainder at each level; the upper one is twice & !odd.
    let odd = low ^ (twice >> 1);
    // The vector that the level's involution leaves alone, turned back by the levels above.
    let flip = odd | (twice ^ low);
    let swap = !(odd ^ ((low ^ EVEN) & (odd | (twice ^ EVEN << 1))));
    let adds = !y & levels;
    let above = suffixes(swap & adds, flip & adds);
    let (swap_above, flip_above) = (above as u32, (above >> 32) as u32);
    let high = (x & levels) ^ (swap_above & flip) ^ (flip_above & swap);
    let pair = spread(low as u64 | (high as u64) << 32);
    (pair | pair >> 31) as u32
}

/// At each bit of either half the parity of the bits above it, of two words of 16 bits (the second in the upper half).
/// The halves are too far apart to mix.
#[inline(always)]
const fn suffixes(lower: u32, upper: u32) -> u64 {
    let mut v = (lower as u64 | (upper as u64) << 32) >> 1;
    v ^= v >> 1;
    v ^= v >> 2;
    v ^= v >> 4;
    v ^ v >> 8
}

/// Gathers bits 0, 2, 4, … of either half into its low end (H. S. Warren, "Hacker's Delight", 7-2).
#[inline(always)]
const fn compact(value: u64) -> u64 {
    let mut v = value & 0x5555_5555_5555_5555;
    v = (v | v >> 1) & 0x3333_3333_3333_3333;
    v = (v | v >> 2) & 0x0f0f_0f0f_0f0f_0f0f;
    v = (v | v >> 4) & 0x00ff_00ff_00ff_00ff;
    (v | v >> 8) & 0x0000_ffff_0000_ffff
}

/// The inverse of [`compact`].
#[inline(always)]
const fn spread(value: u64) -> u64 {
    let mut v = value & 0x0000_ffff_0000_ffff;
    v = (v | v << 8) & 0x00ff_00ff_00ff_00ff;
    v = (v | v << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    v = (v | v << 2) & 0x3333_3333_3333_3333;
    (v | v << 1) & 0x5555_5555_5555_5555
}
