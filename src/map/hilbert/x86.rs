//! The steps of [`super::bits`] on x86-64 vectors: levels in 16-bit lanes, 32 cells a round with AVX-512, 16 with AVX2.
//!
//! A 32-bit lane of the caller is packed into (or unpacked from) 16-bit ones by instructions that work within each 128
//! bits; both directions use the same order, so that nothing has to be put back into order across the register.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::bits::{EVEN, TWO_THIRDS};

/// That this CPU has AVX-512 F and BW, and GFNI.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx512(());

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("gfni");
        has.then_some(Self(()))
    }

    /// [`super::bits::decode`] over rounds; the slices have one length.
    pub(super) fn decode(
        self,
        indices: &[avx512::Round],
        xs: &mut [avx512::Round],
        ys: &mut [avx512::Round],
        levels: u32,
    ) {
        // SAFETY: the CPU has the features, or `detect` had not made this.
        unsafe { avx512::decode(indices, xs, ys, levels) }
    }

    /// [`super::bits::encode`] over rounds; the slices have one length.
    pub(super) fn encode(
        self,
        xs: &[avx512::Round],
        ys: &[avx512::Round],
        indices: &mut [avx512::Round],
        levels: u32,
    ) {
        // SAFETY: as in `decode`.
        unsafe { avx512::encode(xs, ys, indices, levels) }
    }
}

/// That this CPU has AVX2.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    /// [`super::bits::decode`] over rounds; the slices have one length.
    pub(super) fn decode(
        self,
        indices: &[avx2::Round],
        xs: &mut [avx2::Round],
        ys: &mut [avx2::Round],
        levels: u32,
    ) {
        // SAFETY: the CPU has AVX2, or `detect` had not made this.
        unsafe { avx2::decode(indices, xs, ys, levels) }
    }

    /// [`super::bits::encode`] over rounds; the slices have one length.
    pub(super) fn encode(
        self,
        xs: &[avx2::Round],
        ys: &[avx2::Round],
        indices: &mut [avx2::Round],
        levels: u32,
    ) {
        // SAFETY: as in `decode`.
        unsafe { avx2::encode(xs, ys, indices, levels) }
    }
}

mod avx512 {
    use super::*;

    /// What is done at once.
    pub(super) type Round = [u32; 32];

    // Truth tables of three inputs a, b, c: bit 4a + 2b + c.
    const SELECT: i32 = 0xca; // a ? b : c
    const XOR_AND: i32 = 0x78; // a ^ (b & c)
    const XNOR_AND: i32 = 0x82; // ~(a ^ b) & c
    const AND_NOT_AND: i32 = 0x20; // a & ~b & c

    // Truth tables of (low, twice >> 1, twice), made from the formulas of `bits::encode`.
    const FLIP: i32 = table(false, 0);
    const SWAP_EVEN: i32 = table(true, 1);
    const SWAP_ODD: i32 = table(true, 0);

    /// `flip` or `swap` of [`super::super::bits::encode`] at an even level (`even` = 1) or an odd one.
    const fn table(swap: bool, even: u8) -> i32 {
        let mut table = 0;
        let mut inputs = 0;
        while inputs < 8 {
            let (low, half, twice) = (inputs >> 2, inputs >> 1 & 1, inputs & 1);
            let odd = low ^ half;
            let set = if swap {
                1 ^ odd ^ ((low ^ even) & (odd | (twice ^ even ^ 1)))
            } else {
                odd | (twice ^ low)
            };
            table |= (set as i32) << inputs;
            inputs += 1;
        }
        table
    }

    /// The matrix for `gf2p8affineqb` that makes bit `i` of a byte the parity of the bits `rows[i]` of it.
    const fn matrix(rows: [u8; 8]) -> i64 {
        let mut matrix = 0;
        let mut i = 0;
        while i < 8 {
            // The instruction counts rows from the top.
            matrix |= (rows[i] as u64) << (8 * (7 - i));
            i += 1;
        }
        matrix as i64
    }

    /// Bits 7531 over bits 6420.
    const UNSHUFFLE: i64 = matrix([1 << 0, 1 << 2, 1 << 4, 1 << 6, 1 << 1, 1 << 3, 1 << 5, 1 << 7]);
    /// Its inverse.
    const SHUFFLE: i64 = matrix([1 << 0, 1 << 4, 1 << 1, 1 << 5, 1 << 2, 1 << 6, 1 << 3, 1 << 7]);
    /// The bits above each bit.
    const ABOVE: i64 = matrix([0xfe, 0xfc, 0xf8, 0xf0, 0xe0, 0xc0, 0x80, 0]);
    /// All bits, at each bit.
    const PARITY: i64 = matrix([0xff; 8]);

    /// [`super::super::bits::decode`] over rounds.
    #[target_feature(enable = "avx512f,avx512bw,gfni")]
    pub(super) fn decode(indices: &[Round], xs: &mut [Round], ys: &mut [Round], levels: u32) {
        let zero = _mm512_setzero_si512();
        let unshuffle = _mm512_set1_epi64(UNSHUFFLE);
        let upper_nibbles = _mm512_set1_epi8(0xf0_u8 as i8);
        let levels = _mm512_set1_epi16(levels as i16);
        // Of four words of 4 bytes the bytes 0 and 2, then the bytes 1 and 3.
        let by_parity =
            _mm512_broadcast_i32x4(_mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
        for ((indices, xs), ys) in indices.iter().zip(xs).zip(ys) {
            let [first, second] = load(indices).map(|index| {
                _mm512_shuffle_epi8(_mm512_gf2p8affine_epi64_epi8::<0>(index, unshuffle), by_parity)
            });
            // Each byte holds four levels of `high` over four of `low`.
            let even = _mm512_unpacklo_epi64(first, second);
            let odd = _mm512_unpackhi_epi64(first, second);
            let high = _mm512_ternarylogic_epi32::<SELECT>(upper_nibbles, odd, _mm512_srli_epi16::<4>(even));
            let low = _mm512_ternarylogic_epi32::<SELECT>(upper_nibbles, _mm512_slli_epi16::<4>(odd), even);
            let (high, low) = (_mm512_and_si512(high, levels), _mm512_and_si512(low, levels));

            let swap = suffix(_mm512_ternarylogic_epi32::<XNOR_AND>(high, low, levels));
            let flip = suffix(_mm512_and_si512(high, low));
            let x = _mm512_ternarylogic_epi32::<XOR_AND>(_mm512_xor_si512(high, flip), swap, low);
            let y = _mm512_xor_si512(x, low);
            store([_mm512_unpacklo_epi16(x, zero), _mm512_unpackhi_epi16(x, zero)], xs);
            store([_mm512_unpacklo_epi16(y, zero), _mm512_unpackhi_epi16(y, zero)], ys);
        }
    }

    /// [`super::super::bits::encode`] over rounds.
    #[target_feature(enable = "avx512f,avx512bw,gfni")]
    pub(super) fn encode(xs: &[Round], ys: &[Round], indices: &mut [Round], levels: u32) {
        let shuffle = _mm512_set1_epi64(SHUFFLE);
        let upper_nibbles = _mm512_set1_epi8(0xf0_u8 as i8);
        let wide_levels = _mm512_set1_epi32(levels as i32);
        let levels = _mm512_set1_epi16(levels as i16);
        let two_thirds = _mm512_set1_epi16(TWO_THIRDS as i16);
        let even_levels = _mm512_set1_epi16(EVEN as i16);
        for ((xs, ys), indices) in xs.iter().zip(ys).zip(indices) {
            let narrow = |cells: &Round| {
                let [first, second] = load(cells).map(|half| _mm512_and_si512(half, wide_levels));
                _mm512_packus_epi32(first, second)
            };
            let (x, y) = (narrow(xs), narrow(ys));
            let low = _mm512_xor_si512(x, y);
            let twice = _mm512_mulhi_epu16(low, two_thirds);
            let half = _mm512_srli_epi16::<1>(twice);
            let flip = _mm512_ternarylogic_epi32::<FLIP>(low, half, twice);
            let swap = _mm512_ternarylogic_epi32::<SELECT>(
                even_levels,
                _mm512_ternarylogic_epi32::<SWAP_EVEN>(low, half, twice),
                _mm512_ternarylogic_epi32::<SWAP_ODD>(low, half, twice),
            );
            let swap_above = suffix(_mm512_ternarylogic_epi32::<AND_NOT_AND>(swap, y, levels));
            let flip_above = suffix(_mm512_ternarylogic_epi32::<AND_NOT_AND>(flip, y, levels));
            let high = _mm512_ternarylogic_epi32::<XOR_AND>(
                _mm512_ternarylogic_epi32::<XOR_AND>(x, swap_above, flip),
                flip_above,
                swap,
            );

            let odd = _mm512_ternarylogic_epi32::<SELECT>(upper_nibbles, high, _mm512_srli_epi16::<4>(low));
            let even = _mm512_ternarylogic_epi32::<SELECT>(upper_nibbles, _mm512_slli_epi16::<4>(high), low);
            let even = _mm512_gf2p8affine_epi64_epi8::<0>(even, shuffle);
            let odd = _mm512_gf2p8affine_epi64_epi8::<0>(odd, shuffle);
            store([_mm512_unpacklo_epi8(even, odd), _mm512_unpackhi_epi8(even, odd)], indices);
        }
    }

    /// At each bit the parity of the bits above it in its lane of 16.
    #[target_feature(enable = "avx512f,avx512bw,gfni")]
    fn suffix(v: __m512i) -> __m512i {
        let within = _mm512_gf2p8affine_epi64_epi8::<0>(v, _mm512_set1_epi64(ABOVE));
        let upper = _mm512_gf2p8affine_epi64_epi8::<0>(_mm512_srli_epi16::<8>(v), _mm512_set1_epi64(PARITY));
        _mm512_xor_si512(within, upper)
    }

    #[target_feature(enable = "avx512f")]
    fn load(words: &Round) -> [__m512i; 2] {
        let at = words.as_ptr();
        // SAFETY: 16 words from 0 and 16 from 16 lie within the 32 of `words`; no alignment is asked for.
        unsafe { [_mm512_loadu_epi32(at.cast()), _mm512_loadu_epi32(at.add(16).cast())] }
    }

    #[target_feature(enable = "avx512f")]
    fn store([first, second]: [__m512i; 2], words: &mut Round) {
        let at = words.as_mut_ptr();
        // SAFETY: as for `load`.
        unsafe {
            _mm512_storeu_epi32(at.cast(), first);
            _mm512_storeu_epi32(at.add(16).cast(), second);
        }
    }
}

mod avx2 {
    use super::*;

    /// What is done at once.
    pub(super) type Round = [u32; 16];

    /// [`super::super::bits::decode`] over rounds.
    #[target_feature(enable = "avx2")]
    pub(super) fn decode(indices: &[Round], xs: &mut [Round], ys: &mut [Round], levels: u32) {
        let zero = _mm256_setzero_si256();
        let nibble = _mm256_set1_epi8(0x0f);
        let levels = _mm256_set1_epi16(levels as i16);
        // A nibble's bits 3 and 1 to bits 5 and 4, its bits 2 and 0 to bits 1 and 0; for an upper nibble two further.
        let unshuffle = each_half(_mm_setr_epi8(
            0x00, 0x01, 0x10, 0x11, 0x02, 0x03, 0x12, 0x13, 0x20, 0x21, 0x30, 0x31, 0x22, 0x23, 0x32, 0x33,
        ));
        let unshuffle_upper = _mm256_slli_epi16::<2>(unshuffle);
        let by_parity = each_half(_mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
        for ((indices, xs), ys) in indices.iter().zip(xs).zip(ys) {
            let [first, second] = load(indices).map(|index| {
                let lower = _mm256_and_si256(index, nibble);
                let upper = _mm256_and_si256(_mm256_srli_epi16::<4>(index), nibble);
                let halves = _mm256_or_si256(
                    _mm256_shuffle_epi8(unshuffle, lower),
                    _mm256_shuffle_epi8(unshuffle_upper, upper),
                );
                _mm256_shuffle_epi8(halves, by_parity)
            });
            let even = _mm256_unpacklo_epi64(first, second);
            let odd = _mm256_unpackhi_epi64(first, second);
            let high = select(nibble, _mm256_srli_epi16::<4>(even), odd);
            let low = select(nibble, even, _mm256_slli_epi16::<4>(odd));
            let (high, low) = (_mm256_and_si256(high, levels), _mm256_and_si256(low, levels));

            let swap = suffix(_mm256_andnot_si256(_mm256_xor_si256(high, low), levels));
            let flip = suffix(_mm256_and_si256(high, low));
            let x = _mm256_xor_si256(_mm256_xor_si256(high, flip), _mm256_and_si256(swap, low));
            let y = _mm256_xor_si256(x, low);
            store([_mm256_unpacklo_epi16(x, zero), _mm256_unpackhi_epi16(x, zero)], xs);
            store([_mm256_unpacklo_epi16(y, zero), _mm256_unpackhi_epi16(y, zero)], ys);
        }
    }

    /// [`super::super::bits::encode`] over rounds.
    #[target_feature(enable = "avx2")]
    pub(super) fn encode(xs: &[Round], ys: &[Round], indices: &mut [Round], levels: u32) {
        let nibble = _mm256_set1_epi8(0x0f);
        let wide_levels = _mm256_set1_epi32(levels as i32);
        let levels = _mm256_set1_epi16(levels as i16);
        let two_thirds = _mm256_set1_epi16(TWO_THIRDS as i16);
        let even_levels = _mm256_set1_epi16(EVEN as i16);
        let odd_levels = _mm256_set1_epi16((EVEN << 1) as i16);
        // A nibble's bits to bits 0, 2, 4, 6; those of `high` one further.
        let spread = each_half(_mm_setr_epi8(
            0x00, 0x01, 0x04, 0x05, 0x10, 0x11, 0x14, 0x15, 0x40, 0x41, 0x44, 0x45, 0x50, 0x51, 0x54, 0x55,
        ));
        let spread_high = _mm256_slli_epi16::<1>(spread);
        for ((xs, ys), indices) in xs.iter().zip(ys).zip(indices) {
            let narrow = |cells: &Round| {
                let [first, second] = load(cells).map(|half| _mm256_and_si256(half, wide_levels));
                _mm256_packus_epi32(first, second)
            };
            let (x, y) = (narrow(xs), narrow(ys));
            let low = _mm256_xor_si256(x, y);
            let twice = _mm256_mulhi_epu16(low, two_thirds);
            let odd = _mm256_xor_si256(low, _mm256_srli_epi16::<1>(twice));
            let flip = _mm256_or_si256(odd, _mm256_xor_si256(twice, low));
            let not_swap = _mm256_xor_si256(
                odd,
                _mm256_and_si256(
                    _mm256_xor_si256(low, even_levels),
                    _mm256_or_si256(odd, _mm256_xor_si256(twice, odd_levels)),
                ),
            );
            let adds = _mm256_andnot_si256(y, levels);
            let swap_above = suffix(_mm256_andnot_si256(not_swap, adds));
            let flip_above = suffix(_mm256_and_si256(flip, adds));
            let high = _mm256_xor_si256(
                _mm256_xor_si256(x, _mm256_and_si256(swap_above, flip)),
                _mm256_andnot_si256(not_swap, flip_above),
            );

            let join = |high, low| {
                _mm256_or_si256(_mm256_shuffle_epi8(spread_high, high), _mm256_shuffle_epi8(spread, low))
            };
            let even = join(_mm256_and_si256(high, nibble), _mm256_and_si256(low, nibble));
            let odd = join(
                _mm256_and_si256(_mm256_srli_epi16::<4>(high), nibble),
                _mm256_and_si256(_mm256_srli_epi16::<4>(low), nibble),
            );
            store([_mm256_unpacklo_epi8(even, odd), _mm256_unpackhi_epi8(even, odd)], indices);
        }
    }

    #[target_feature(enable = "avx2")]
    fn each_half(half: __m128i) -> __m256i {
        _mm256_broadcastsi128_si256(half)
    }

    /// `mask ? set : clear`, bit by bit.
    #[target_feature(enable = "avx2")]
    fn select(mask: __m256i, set: __m256i, clear: __m256i) -> __m256i {
        _mm256_or_si256(_mm256_and_si256(mask, set), _mm256_andnot_si256(mask, clear))
    }

    /// At each bit the parity of the bits above it in its lane of 16.
    #[target_feature(enable = "avx2")]
    fn suffix(v: __m256i) -> __m256i {
        let v = _mm256_srli_epi16::<1>(v);
        let v = _mm256_xor_si256(v, _mm256_srli_epi16::<1>(v));
        let v = _mm256_xor_si256(v, _mm256_srli_epi16::<2>(v));
        let v = _mm256_xor_si256(v, _mm256_srli_epi16::<4>(v));
        _mm256_xor_si256(v, _mm256_srli_epi16::<8>(v))
    }

    #[target_feature(enable = "avx2")]
    fn load(words: &Round) -> [__m256i; 2] {
        let at = words.as_ptr();
        // SAFETY: 8 words from 0 and 8 from 8 lie within the 16 of `words`; no alignment is asked for.
        unsafe { [_mm256_loadu_si256(at.cast()), _mm256_loadu_si256(at.add(8).cast())] }
    }

    #[target_feature(enable = "avx2")]
    fn store([first, second]: [__m256i; 2], words: &mut Round) {
        let at = words.as_mut_ptr();
        // SAFETY: as for `load`.
        unsafe {
            _mm256_storeu_si256(at.cast(), first);
            _mm256_storeu_si256(at.add(8).cast(), second);
        }
    }
}
