// Time series: a row is a window, the newest at the top, and a column a stretch of the line of pages. The row that is looked
// at goes by ramp 1, and is never wholly dark.

// Columns, rows, the row that is looked at or all ones.
@group(0) @binding(0) var<uniform> work: vec4<u32>;
@group(0) @binding(1) var<storage, read> lines: array<u32>;
@group(0) @binding(2) var<storage, read_write> coded: array<u32>;

// As in phase.wgsl.
fn fixed(bits: u32) -> u32 {
    let key = select(min(bits, 0x3f800000u), 0u, bits > 0x7f800000u);
    let exponent = key >> 23u;
    let fraction = (key & 0x7fffffu) | 0x800000u;
    return min(select(0u, fraction >> (134u - max(exponent, 111u)), exponent >= 111u), 65535u);
}

@compute @workgroup_size(64)
fn waterfall(@builtin(global_invocation_id) at: vec3<u32>) {
    if at.x >= work.x {
        return;
    }
    let cell = at.y * work.x + at.x;
    let level = fixed(lines[cell]);
    coded[cell] = select(level << 16u, (max(level, 0x4000u) << 16u) | 1u, at.y == work.z);
}
