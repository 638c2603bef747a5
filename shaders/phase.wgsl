// Phase transition: how two regimes differ. Where the newer one writes more, ramp 0, where less, ramp 1; the level is the
// difference of the densities.

@group(0) @binding(0) var<uniform> cells: vec4<u32>;
@group(0) @binding(1) var<storage, read> before: array<u32>;
@group(0) @binding(2) var<storage, read> after: array<u32>;
@group(0) @binding(3) var<storage, read_write> coded: array<u32>;

// Levels are floor(65536 * v), and 65535 for v = 1; two cells share a word.
fn level(word: u32, cell: u32) -> u32 {
    return (word >> ((cell & 1u) << 4u)) & 0xffffu;
}

@compute @workgroup_size(64)
fn phase(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let cell = at.y * groups.x * 64u + at.x;
    if cell >= cells.x {
        return;
    }
    let older = level(before[cell >> 1u], cell);
    let newer = level(after[cell >> 1u], cell);
    coded[cell] = select(((newer - older) << 16u), ((older - newer) << 16u) | 1u, older > newer);
}
