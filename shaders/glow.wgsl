// Glow: what is bright on the map spreads. Dual filtering (M. Bjorge, "Bandwidth-efficient rendering", SIGGRAPH 2015): each
// level is half as large as the one before; on the way back each is added to the one below through a tent. Exact: a pixel
// of a level is three numbers of ten bits.

struct Work {
    // The finer and the coarser level.
    fine: vec2<u32>,
    coarse: vec2<u32>,
    // The picture: its row, its first pixel of the map; `strength` is how much is added, of 256.
    stride: u32,
    first: u32,
    strength: u32,
    // 0x00RRGGBB: what is no brighter than this does not glow.
    floor: u32,
}

@group(0) @binding(0) var<uniform> work: Work;
@group(0) @binding(1) var<storage, read> source: array<u32>;
@group(0) @binding(2) var<storage, read_write> result: array<u32>;

fn unpack(word: u32) -> vec3<u32> {
    return vec3<u32>(word >> 20u, (word >> 10u) & 0x3ffu, word & 0x3ffu);
}

fn pack(color: vec3<u32>) -> u32 {
    return (color.x << 20u) | (color.y << 10u) | color.z;
}

fn channels(color: u32) -> vec3<u32> {
    return vec3<u32>((color >> 16u) & 0xffu, (color >> 8u) & 0xffu, color & 0xffu);
}

// How light a colour is, by the weights of BT.709.
fn luma(color: vec3<u32>) -> u32 {
    return color.x * 54u + color.y * 183u + color.z * 19u;
}

// What of a pixel of the picture glows.
fn bright(x: u32, y: u32) -> vec3<u32> {
    let color = channels(source[work.first + y * work.stride + x]);
    let dark = channels(work.floor);
    // A dark colour may have more of one channel than a lighter one.
    let lighter = luma(color) > luma(dark);
    return select(vec3<u32>(0u), (max(color, dark) - dark) * 4u, vec3<bool>(lighter));
}

fn level(x: u32, y: u32) -> vec3<u32> {
    return unpack(source[y * work.fine.x + x]);
}

// Sixteen pixels: the outer twelve weigh 1, the inner four 5, of 32.
@compute @workgroup_size(64, 1)
fn first(@builtin(global_invocation_id) at: vec3<u32>) {
    if at.x >= work.coarse.x {
        return;
    }
    var sum = vec3<u32>(16u);
    for (var j = 0u; j < 4u; j++) {
        let y = clamp(at.y * 2u + j, 1u, work.fine.y) - 1u;
        for (var i = 0u; i < 4u; i++) {
            let x = clamp(at.x * 2u + i, 1u, work.fine.x) - 1u;
            let inner = (i == 1u || i == 2u) && (j == 1u || j == 2u);
            sum += bright(x, y) * select(1u, 5u, inner);
        }
    }
    result[at.y * work.coarse.x + at.x] = pack(sum / 32u);
}

@compute @workgroup_size(64, 1)
fn down(@builtin(global_invocation_id) at: vec3<u32>) {
    if at.x >= work.coarse.x {
        return;
    }
    var sum = vec3<u32>(16u);
    for (var j = 0u; j < 4u; j++) {
        let y = clamp(at.y * 2u + j, 1u, work.fine.y) - 1u;
        for (var i = 0u; i < 4u; i++) {
            let x = clamp(at.x * 2u + i, 1u, work.fine.x) - 1u;
            let inner = (i == 1u || i == 2u) && (j == 1u || j == 2u);
            sum += level(x, y) * select(1u, 5u, inner);
        }
    }
    result[at.y * work.coarse.x + at.x] = pack(sum / 32u);
}

// The coarser level, between its pixels: the four nearest weigh 9, 3, 3, 1, of 16.
fn between(x: u32, y: u32) -> vec3<u32> {
    let near = vec2<u32>(x / 2u, y / 2u);
    let last = work.coarse - vec2<u32>(1u);
    // The other neighbour lies on the side that the finer pixel is on.
    let far = vec2<u32>(
        select(max(near.x, 1u) - 1u, min(near.x + 1u, last.x), (x & 1u) == 1u),
        select(max(near.y, 1u) - 1u, min(near.y + 1u, last.y), (y & 1u) == 1u),
    );
    let a = unpack(source[near.y * work.coarse.x + near.x]);
    let b = unpack(source[near.y * work.coarse.x + far.x]);
    let c = unpack(source[far.y * work.coarse.x + near.x]);
    let d = unpack(source[far.y * work.coarse.x + far.x]);
    return (a * 9u + b * 3u + c * 3u + d + vec3<u32>(8u)) / 16u;
}

// Half of the finer level, and half of what comes from the coarser one.
@compute @workgroup_size(64, 1)
fn up(@builtin(global_invocation_id) at: vec3<u32>) {
    if at.x >= work.fine.x {
        return;
    }
    let here = at.y * work.fine.x + at.x;
    result[here] = pack((unpack(result[here]) + between(at.x, at.y)) / 2u);
}

// Onto the picture.
@compute @workgroup_size(64, 1)
fn add(@builtin(global_invocation_id) at: vec3<u32>) {
    if at.x >= work.fine.x {
        return;
    }
    let here = work.first + at.y * work.stride + at.x;
    let glow = (between(at.x, at.y) * work.strength) / 1024u;
    let color = min(channels(result[here]) + glow, vec3<u32>(255u));
    result[here] = 0xff000000u | (color.x << 16u) | (color.y << 8u) | color.z;
}
