// Phase transition: how two regimes differ. Where the newer one writes more, ramp 0, where less, ramp 1; the level is the
// difference of the densities.

@group(0) @binding(0) var<uniform> cells: vec4<u32>;
@group(0) @binding(1) var<storage, read> before: array<u32>;
@group(0) @binding(2) var<storage, read> after: array<u32>;
@group(0) @binding(3) var<storage, read_write> coded: array<u32>;

// floor(65536 * v) of the bits of an f32, and 65535 for v = 1 and above; 0 below 2^-16 and for what is no number.
fn fixed(bits: u32) -> u32 {
    let key = select(min(bits, 0x3f800000u), 0u, bits > 0x7f800000u);
    let exponent = key >> 23u;
    let fraction = (key & 0x7fffffu) | 0x800000u;
    return min(select(0u, fraction >> (134u - max(exponent, 111u)), exponent >= 111u), 65535u);
}

@compute @workgroup_size(64)
fn phase(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let cell = at.y * groups.x * 64u + at.x;
    if cell >= cells.x {
        return;
    }
    let older = fixed(before[cell]);
    let newer = fixed(after[cell]);
    coded[cell] = select(((newer - older) << 16u), ((older - newer) << 16u) | 1u, older > newer);
}
