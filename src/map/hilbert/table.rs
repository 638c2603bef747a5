//! The curve by table, four levels a look-up.
//!
//! Two bits of state say how a quadrant's picture of the curve is turned: 1, its axes are exchanged; 2, it is mirrored.
//! Both tables are made from the textbook's recursion when this is compiled.

/// Levels a look-up.
const STEP: u32 = 4;

/// The textbook's recursion, one level: the part of the index and the state below, of one bit of either coordinate.
const fn level(state: u16, x: u16, y: u16) -> (u16, u16) {
    let mirrored = state >> 1;
    let (x, y) = if state & 1 == 0 { (x ^ mirrored, y ^ mirrored) } else { (y ^ mirrored, x ^ mirrored) };
    match (x, y) {
        // The first quadrant's axes are exchanged, the last one's too, and mirrored; the others are upright.
        (0, 0) => (0, state ^ 1),
        (0, _) => (1, state),
        (_, 0) => (3, state ^ 3),
        _ => (2, state),
    }
}

/// By state << 8 | x << 4 | y: the state below << 8 | the index.
static ENCODE: [u16; 1024] = {
    let mut table = [0; 1024];
    let mut at = 0;
    while at < 1024 {
        let (mut state, mut index, mut bit) = (at >> 8, 0, STEP);
        while bit > 0 {
            bit -= 1;
            let (part, below) = level(state, at >> (4 + bit) & 1, at >> bit & 1);
            (index, state) = (index << 2 | part, below);
        }
        table[at as usize] = state << 8 | index;
        at += 1;
    }
    table
};

/// By state << 8 | the index: the state below << 8 | x << 4 | y.
static DECODE: [u16; 1024] = {
    let mut table = [0; 1024];
    let mut at = 0;
    while at < 1024 {
        let entry = ENCODE[at as usize];
        table[(at & 0x300 | entry & 0xff) as usize] = entry & 0x300 | at & 0xff;
        at += 1;
    }
    table
};

/// Whole look-ups are made, so that up to three levels above the curve's are taken: each is a first quadrant, which
/// exchanges the axes.
#[inline(always)]
const fn start(order: u32) -> (u32, u32) {
    let steps = order.div_ceil(STEP);
    (steps, ((steps * STEP - order) & 1) << 8)
}

/// The cell of `index`, which is below 4^`order`.
#[inline(always)]
pub(super) fn decode(index: u32, order: u32) -> (u32, u32) {
    let (mut step, mut state) = start(order);
    let (mut x, mut y) = (0, 0);
    while step > 0 {
        step -= 1;
        let entry = u32::from(DECODE[(state | index >> (2 * STEP * step) & 0xff) as usize & 1023]);
        (x, y, state) = (x << STEP | entry >> STEP & 0xf, y << STEP | entry & 0xf, entry & 0x300);
    }
    (x, y)
}

/// The index of the cell (x, y), both below 2^`order`.
#[inline(always)]
pub(super) fn encode(x: u32, y: u32, order: u32) -> u32 {
    let (mut step, mut state) = start(order);
    let mut index = 0;
    while step > 0 {
        step -= 1;
        let nibbles = (x >> (STEP * step) & 0xf) << STEP | y >> (STEP * step) & 0xf;
        let entry = u32::from(ENCODE[(state | nibbles) as usize & 1023]);
        (index, state) = (index << (2 * STEP) | entry & 0xff, entry & 0x300);
    }
    index
}
