// Lines, marks and words over the picture: a list of pixels, no pixel twice.

// Pixels of the list, words from a row of the picture to the next, and before the first.
@group(0) @binding(0) var<uniform> work: vec4<u32>;
// y << 16 | x, and coverage << 24 | 0xRRGGBB.
@group(0) @binding(1) var<storage, read> marks: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read_write> picture: array<u32>;

fn blend(under: u32, over: u32, coverage: u32) -> u32 {
    // Divided by 255 and rounded, exactly, without a division.
    return ((under * (255u - coverage) + over * coverage + 128u) * 257u) >> 16u;
}

@compute @workgroup_size(64)
fn overlay(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let which = at.y * groups.x * 64u + at.x;
    if which >= work.x {
        return;
    }
    let mark = marks[which];
    let here = work.z + (mark.x >> 16u) * work.y + (mark.x & 0xffffu);
    let under = picture[here];
    let coverage = mark.y >> 24u;
    let red = blend((under >> 16u) & 0xffu, (mark.y >> 16u) & 0xffu, coverage);
    let green = blend((under >> 8u) & 0xffu, (mark.y >> 8u) & 0xffu, coverage);
    let blue = blend(under & 0xffu, mark.y & 0xffu, coverage);
    picture[here] = 0xff000000u | (red << 16u) | (green << 8u) | blue;
}
