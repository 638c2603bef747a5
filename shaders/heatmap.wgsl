// The heat map: density, palette, legend and words into a linear XRGB8888 picture.
//
// All arithmetic on what decides a colour is on integers, and every step is exact: a driver has no freedom, so the CPU
// reference in tests/ expects the same pixels, bit for bit. A density comes as the bits of an f32.

struct Rect { x: u32, y: u32, width: u32, height: u32 }

struct Stage {
    width: u32,
    height: u32,
    // In words of 32 bits: from a row of the picture to the next, and before the first.
    stride: u32,
    first: u32,
    map: Rect,
    panel: Rect,
    bar: Rect,
    // Cells along the side of the map.
    cells: u32,
    // 0xffRRGGBB.
    background: u32,
    ink: u32,
    // Where the coverage mask begins in `sheet`, in words; its rows begin at whole words.
    mask: u32,
    // 0xffRRGGBB for 0..1.
    palette: array<vec4<u32>, 64>,
}

@group(0) @binding(0) var<uniform> stage: Stage;
// Bits of the densities, row after row.
@group(0) @binding(1) var<storage, read> density: array<u32>;
// The first cell of each pixel of the map's side and one more, then four coverages a word, the leftmost lowest.
@group(0) @binding(2) var<storage, read> sheet: array<u32>;
@group(0) @binding(3) var<storage, read_write> picture: array<u32>;

const ONE: u32 = 0x3f800000u;
const INFINITY: u32 = 0x7f800000u;

// Maps the bits of an f32 to 0..ONE such that larger densities have larger keys: what is below 0 or no number counts as
// 0, what is above 1 as 1. Bits of positive floats are ordered like the floats.
fn key(bits: u32) -> u32 {
    return select(min(bits, ONE), 0u, bits > INFINITY);
}

// floor(256 * v), and 255 for v = 1. The exponent of 2^-8 is 119.
fn color_of(key: u32) -> u32 {
    let exponent = key >> 23u;
    let fraction = (key & 0x7fffffu) | 0x800000u;
    let small = select(0u, fraction >> (142u - min(exponent, 142u)), exponent >= 119u);
    return palette(min(small, 255u));
}

fn palette(index: u32) -> u32 {
    return stage.palette[index >> 2u][index & 3u];
}

fn inside(rect: Rect, x: u32, y: u32) -> bool {
    // Below the edge the difference wraps and is larger than any width.
    return x - rect.x < rect.width && y - rect.y < rect.height;
}

fn map_at(x: u32, y: u32) -> u32 {
    let left = sheet[x];
    let right = max(sheet[x + 1u], left + 1u);
    let top = sheet[y];
    let bottom = max(sheet[y + 1u], top + 1u);
    var most = 0u;
    for (var row = top; row < bottom; row++) {
        for (var column = left; column < right; column++) {
            most = max(most, key(density[row * stage.cells + column]));
        }
    }
    return color_of(most);
}

fn blend(under: u32, over: u32, coverage: u32) -> u32 {
    return (under * (255u - coverage) + over * coverage + 127u) / 255u;
}

fn words_at(x: u32, y: u32) -> u32 {
    let row = (stage.panel.width + 3u) / 4u;
    let coverage = (sheet[stage.mask + y * row + (x >> 2u)] >> ((x & 3u) * 8u)) & 0xffu;
    let red = blend((stage.background >> 16u) & 0xffu, (stage.ink >> 16u) & 0xffu, coverage);
    let green = blend((stage.background >> 8u) & 0xffu, (stage.ink >> 8u) & 0xffu, coverage);
    let blue = blend(stage.background & 0xffu, stage.ink & 0xffu, coverage);
    return 0xff000000u | (red << 16u) | (green << 8u) | blue;
}

@compute @workgroup_size(64, 1)
fn draw(@builtin(global_invocation_id) at: vec3<u32>) {
    if at.x >= stage.width || at.y >= stage.height {
        return;
    }
    var color = stage.background;
    if inside(stage.map, at.x, at.y) {
        color = map_at(at.x - stage.map.x, at.y - stage.map.y);
    } else if inside(stage.bar, at.x, at.y) {
        color = palette((at.x - stage.bar.x) * 256u / stage.bar.width);
    } else if inside(stage.panel, at.x, at.y) {
        color = words_at(at.x - stage.panel.x, at.y - stage.panel.y);
    }
    picture[stage.first + at.y * stage.stride + at.x] = color;
}
