// Memory avalanche: the front of the cascade by ramp 0, the brighter the more recently it came to a cell, and where it never
// was the density by ramp 1, a quarter as bright, so that the front is always over it.

// Cells, and levels that a front loses a window.
@group(0) @binding(0) var<uniform> work: vec4<u32>;
// Windows since the front came to a cell; all ones where it never was.
@group(0) @binding(1) var<storage, read> ages: array<u32>;
@group(0) @binding(2) var<storage, read> density: array<u32>;
@group(0) @binding(3) var<storage, read_write> coded: array<u32>;

// As in phase.wgsl.
fn level(word: u32, cell: u32) -> u32 {
    return (word >> ((cell & 1u) << 4u)) & 0xffffu;
}

@compute @workgroup_size(64)
fn avalanche(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let cell = at.y * groups.x * 64u + at.x;
    if cell >= work.x {
        return;
    }
    let age = ages[cell];
    let faded = min(min(age, 65535u) * work.y, 49151u);
    let quiet = ((level(density[cell >> 1u], cell) >> 2u) << 16u) | 1u;
    coded[cell] = select((65535u - faded) << 16u, quiet, age == 0xffffffffu);
}
