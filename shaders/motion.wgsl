// Motion between two windows: the levels go in a straight line from the old to the new.

// Cells, and how far it is, 0..256.
@group(0) @binding(0) var<uniform> work: vec4<u32>;
@group(0) @binding(1) var<storage, read> before: array<u32>;
@group(0) @binding(2) var<storage, read> after: array<u32>;
@group(0) @binding(3) var<storage, read_write> coded: array<u32>;

// As in phase.wgsl.
fn level(word: u32, cell: u32) -> u32 {
    return (word >> ((cell & 1u) << 4u)) & 0xffffu;
}

@compute @workgroup_size(64)
fn motion(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let cell = at.y * groups.x * 64u + at.x;
    if cell >= work.x {
        return;
    }
    let older = level(before[cell >> 1u], cell);
    let newer = level(after[cell >> 1u], cell);
    coded[cell] = ((older * (256u - work.y) + newer * work.y) >> 8u) << 16u;
}
