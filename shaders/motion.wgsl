// Motion between two windows: the levels go in a straight line from the old to the new. A cell keeps the ramp of whichever
// is there, and changes it half way.

// Cells, and how far it is, 0..256.
@group(0) @binding(0) var<uniform> work: vec4<u32>;
@group(0) @binding(1) var<storage, read> before: array<u32>;
@group(0) @binding(2) var<storage, read> after: array<u32>;
@group(0) @binding(3) var<storage, read_write> coded: array<u32>;

// Cells are words of another stage, not densities.
override CODED: bool = false;

// As in phase.wgsl.
fn fixed(bits: u32) -> u32 {
    let key = select(min(bits, 0x3f800000u), 0u, bits > 0x7f800000u);
    let exponent = key >> 23u;
    let fraction = (key & 0x7fffffu) | 0x800000u;
    return min(select(0u, fraction >> (134u - max(exponent, 111u)), exponent >= 111u), 65535u);
}

fn word(value: u32) -> u32 {
    if CODED {
        return value;
    }
    return fixed(value) << 16u;
}

@compute @workgroup_size(64)
fn motion(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let cell = at.y * groups.x * 64u + at.x;
    if cell >= work.x {
        return;
    }
    let older = word(before[cell]);
    let newer = word(after[cell]);
    let level = ((older >> 16u) * (256u - work.y) + (newer >> 16u) * work.y) >> 8u;
    let keeps = newer < 0x10000u || (work.y < 128u && older >= 0x10000u);
    coded[cell] = (level << 16u) | (select(newer, older, keeps) & 0xffffu);
}
