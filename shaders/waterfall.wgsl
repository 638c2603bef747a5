// Time series: a row is a window, the newest at the top, and a column a stretch of the line of pages. The row that is looked
// at goes by ramp 1, and is never wholly dark.

// Columns, rows, the row that is looked at or all ones.
@group(0) @binding(0) var<uniform> work: vec4<u32>;
@group(0) @binding(1) var<storage, read> lines: array<u32>;
@group(0) @binding(2) var<storage, read_write> coded: array<u32>;

// As in phase.wgsl.
fn level(word: u32, cell: u32) -> u32 {
    return (word >> ((cell & 1u) << 4u)) & 0xffffu;
}

@compute @workgroup_size(64)
fn waterfall(@builtin(global_invocation_id) at: vec3<u32>) {
    if at.x >= work.x {
        return;
    }
    let cell = at.y * work.x + at.x;
    let value = level(lines[cell >> 1u], cell);
    coded[cell] = select(value << 16u, (max(value, 0x4000u) << 16u) | 1u, at.y == work.z);
}
