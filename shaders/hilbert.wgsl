// Indices along the Hilbert curve to cells and back, for data that is in the GPU's memory.
//
// The arithmetic is that of src/map/hilbert/bits.rs: every level at once, no table and no branch, the same cost at every
// order. A cell is x | y << 16.

struct Work {
    // The lowest bits of a coordinate that count: 2^order - 1.
    levels: u32,
    count: u32,
}

@group(0) @binding(0) var<uniform> work: Work;
@group(0) @binding(1) var<storage, read> input: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;

const GROUP: u32 = 256u;
// Words that an invocation takes, a group's width apart, so that its neighbours read and write next to it.
const EACH: u32 = 4u;

// Bits 0, 2, 4, ... into the lower half, bits 1, 3, 5, ... into the upper one (H. S. Warren, "Hacker's Delight", 7-2).
fn unshuffle(word: u32) -> u32 {
    var v = word;
    var t = (v ^ (v >> 1u)) & 0x22222222u; v = v ^ t ^ (t << 1u);
    t = (v ^ (v >> 2u)) & 0x0c0c0c0cu; v = v ^ t ^ (t << 2u);
    t = (v ^ (v >> 4u)) & 0x00f000f0u; v = v ^ t ^ (t << 4u);
    t = (v ^ (v >> 8u)) & 0x0000ff00u; return v ^ t ^ (t << 8u);
}

fn shuffle(word: u32) -> u32 {
    var v = word;
    var t = (v ^ (v >> 8u)) & 0x0000ff00u; v = v ^ t ^ (t << 8u);
    t = (v ^ (v >> 4u)) & 0x00f000f0u; v = v ^ t ^ (t << 4u);
    t = (v ^ (v >> 2u)) & 0x0c0c0c0cu; v = v ^ t ^ (t << 2u);
    t = (v ^ (v >> 1u)) & 0x22222222u; return v ^ t ^ (t << 1u);
}

// At each bit the parity of the 16 bits from it upwards.
fn suffix(word: u32) -> u32 {
    var v = word ^ (word >> 1u);
    v = v ^ (v >> 2u);
    v = v ^ (v >> 4u);
    return v ^ (v >> 8u);
}

fn decode(index: u32) -> u32 {
    let pair = unshuffle(index);
    let high = (pair >> 16u) & work.levels;
    let low = pair & work.levels;
    let swap = suffix((~(high ^ low) & work.levels) >> 1u);
    let flip = suffix((high & low) >> 1u);
    let x = high ^ flip ^ (swap & low);
    return x | ((x ^ low) << 16u);
}

fn encode(cell: u32) -> u32 {
    let x = cell & work.levels;
    let y = (cell >> 16u) & work.levels;
    let low = x ^ y;
    let twice = (low * 0xaaabu) >> 16u;
    let odd = low ^ (twice >> 1u);
    let flip = odd | (twice ^ low);
    let swap = ~(odd ^ ((low ^ 0x5555u) & (odd | (twice ^ 0xaaaau))));
    let adds = ~y & work.levels;
    let swap_above = suffix((swap & adds) >> 1u);
    let flip_above = suffix((flip & adds) >> 1u);
    let high = x ^ (swap_above & flip) ^ (flip_above & swap);
    return shuffle((high << 16u) | low);
}

fn first(group: vec3<u32>, groups: vec3<u32>, lane: u32) -> u32 {
    return (group.y * groups.x + group.x) * GROUP * EACH + lane;
}

@compute @workgroup_size(GROUP)
fn d2xy(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let begin = first(group, groups, lane);
    for (var i = 0u; i < EACH; i++) {
        let at = begin + i * GROUP;
        if at < work.count {
            output[at] = decode(input[at]);
        }
    }
}

@compute @workgroup_size(GROUP)
fn xy2d(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let begin = first(group, groups, lane);
    for (var i = 0u; i < EACH; i++) {
        let at = begin + i * GROUP;
        if at < work.count {
            output[at] = encode(input[at]);
        }
    }
}
