// The map and what lies around it: values of cells, palette, legend and words into a linear XRGB8888 picture.
//
// All arithmetic on what decides a colour is on integers, and every step is exact: a driver has no freedom, so the CPU
// reference in tests/ expects the same pixels, bit for bit. A cell's value is a word: the level, 0..65535, in the upper half,
// and in the lower one which ramp of colours it goes by. The stage of another mode has made such words of its own inputs;
// of a density v there is only the level, floor(65536 * v), two cells a word.

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
    // Where the parts of `sheet` begin, and words from a row of the mask to the next.
    edges: u32,
    mask: u32,
    mask_row: u32,
    // What of the picture is to be drawn, as one map may lie on several displays.
    part_x: u32,
    part_y: u32,
    part_width: u32,
    part_height: u32,
    // 1: each step of the palette is a thirty-second of an octave, the darkest 2^-8 and less.
    logarithmic: u32,
    // 1: the bar has ramp 1 at its left, from its end to its middle, and ramp 0 at its right.
    two_sided: u32,
    // Ten ramps, each 0xffRRGGBB for 0..1.
    ramps: array<vec4<u32>, 640>,
}

// Cells are words of another stage, not levels of densities.
override CODED: bool = false;

@group(0) @binding(0) var<uniform> stage: Stage;
// The cells' values, row after row; densities two a word.
@group(0) @binding(1) var<storage, read> density: array<u32>;
// Three tables. From 0: the first cell of each pixel along the map, and one more. From `edges`, where cells are no
// smaller than pixels: the first pixel of each cell, and one more. From `mask`: the coverage of four pixels a word, the
// leftmost lowest, for all groups of four that the panel touches.
@group(0) @binding(2) var<storage, read> sheet: array<u32>;
@group(0) @binding(3) var<storage, read_write> picture: array<u32>;
// The parts of the map that are drawn: columns of pixels x..y; rows z..w of cells, where these are no smaller than pixels,
// otherwise of pixels.
@group(0) @binding(4) var<storage, read> tiles: array<vec4<u32>>;

// Pixels of a column that one invocation of `crowds` draws.
const ROWS: u32 = 8u;

// Of a cell; brighter ones have larger values.
fn value(cell: u32) -> u32 {
    if CODED {
        return density[cell];
    }
    let two = density[cell >> 1u];
    return select(two << 16u, two & 0xffff0000u, (cell & 1u) == 1u);
}

// Linear: floor(256 * v). Logarithmic: floor(32 * (8 + log2 v)), with the log that is straight between powers of two.
fn step_of(value: u32) -> u32 {
    let level = value >> 16u;
    let octave = firstLeadingBit(max(level, 1u));
    let octaves = (octave << 15u) + ((level << (15u - octave)) & 0x7fffu);
    let log_step = select(0u, (octaves - (8u << 15u)) >> 10u, level >= 256u);
    return select(level >> 8u, log_step, stage.logarithmic == 1u);
}

fn color_of(value: u32) -> u32 {
    return ramp(select(0u, value & 0xffffu, CODED), step_of(value));
}

fn ramp(which: u32, step: u32) -> u32 {
    let at = which * 256u + step;
    return stage.ramps[at >> 2u][at & 3u];
}

fn blend(under: u32, over: u32, coverage: u32) -> u32 {
    // Divided by 255 and rounded, exactly, without a division.
    return ((under * (255u - coverage) + over * coverage + 128u) * 257u) >> 16u;
}

fn words(coverage: u32) -> u32 {
    let red = blend((stage.background >> 16u) & 0xffu, (stage.ink >> 16u) & 0xffu, coverage);
    let green = blend((stage.background >> 8u) & 0xffu, (stage.ink >> 8u) & 0xffu, coverage);
    let blue = blend(stage.background & 0xffu, stage.ink & 0xffu, coverage);
    return 0xff000000u | (red << 16u) | (green << 8u) | blue;
}

fn put(x: u32, y: u32, color: u32) {
    // What lies left of the part or above it wraps round to more than its size.
    let column = x - stage.part_x;
    let row = y - stage.part_y;
    if column < stage.part_width && row < stage.part_height {
        picture[stage.first + row * stage.stride + column] = color;
    }
}

// One entry point for each part of the picture: a software driver computes every branch that any pixel of a group takes.
// What costs there is memory, so each invocation fetches once what several pixels need.

// A cell covers at least a pixel. An invocation draws what one column of pixels shows of one row of cells.
@compute @workgroup_size(64, 1)
fn cells(@builtin(global_invocation_id) at: vec3<u32>) {
    let tile = tiles[at.z];
    let x = tile.x + at.x;
    let row = tile.z + at.y;
    if x >= tile.y || row >= tile.w {
        return;
    }
    // What lies left of the part wraps round to more than its width.
    let column = stage.map.x + x - stage.part_x;
    if column >= stage.part_width {
        return;
    }
    let color = color_of(value(row * stage.cells + sheet[x]));
    // What of its rows lies within the part is found once, and not asked for each pixel.
    let above = i32(stage.map.y) - i32(stage.part_y);
    let top = max(above + i32(sheet[stage.edges + row]), 0);
    let bottom = min(above + i32(sheet[stage.edges + row + 1u]), i32(stage.part_height));
    var place = stage.first + u32(top) * stage.stride + column;
    for (var y = top; y < bottom; y++) {
        picture[place] = color;
        place += stage.stride;
    }
}

// A pixel covers several cells: it shows the largest of them, so that none is lost. An invocation draws a few pixels of
// one column.
@compute @workgroup_size(64, 1)
fn crowds(@builtin(global_invocation_id) at: vec3<u32>) {
    let tile = tiles[at.z];
    let x = tile.x + at.x;
    let top = tile.z + at.y * ROWS;
    let column = stage.map.x + x - stage.part_x;
    if x >= tile.y || top >= tile.w || column >= stage.part_width {
        return;
    }
    let left = sheet[x];
    let right = sheet[x + 1u];
    let end = min(top + ROWS, tile.w);
    var row = sheet[top];
    for (var y = top; y < end; y++) {
        let bottom = sheet[y + 1u];
        var most = 0u;
        for (; row < bottom; row++) {
            for (var at_cell = row * stage.cells + left; at_cell < row * stage.cells + right; at_cell++) {
                most = max(most, value(at_cell));
            }
        }
        let line = stage.map.y + y - stage.part_y;
        if line < stage.part_height {
            picture[stage.first + line * stage.stride + column] = color_of(most);
        }
    }
}

// The background left and right of the map.
@compute @workgroup_size(64, 1)
fn beside(@builtin(global_invocation_id) at: vec3<u32>) {
    if at.x < stage.width - stage.map.width {
        put(at.x + select(0u, stage.map.width, at.x >= stage.map.x), stage.map.y + at.y, stage.background);
    }
}

// The background above and below the map.
@compute @workgroup_size(64, 1)
fn beyond(@builtin(global_invocation_id) at: vec3<u32>) {
    if at.x < stage.width {
        put(at.x, at.y + select(0u, stage.map.height, at.y >= stage.map.y), stage.background);
    }
}

// The words, over the background. An invocation draws four pixels, which is one word of the mask.
@compute @workgroup_size(64, 1)
fn panel(@builtin(global_invocation_id) at: vec3<u32>) {
    let line = stage.panel.y + at.y - stage.part_y;
    if at.x >= stage.mask_row || line >= stage.part_height {
        return;
    }
    let first = stage.first + line * stage.stride;
    let left = (stage.panel.x / 4u + at.x) * 4u;
    var coverage = sheet[stage.mask + at.y * stage.mask_row + at.x];
    for (var x = left; x < left + 4u; x++) {
        let column = x - stage.part_x;
        if x - stage.panel.x < stage.panel.width && column < stage.part_width {
            picture[first + column] = words(coverage & 0xffu);
        }
        coverage >>= 8u;
    }
}

// The palette bar, over what `panel` left there.
@compute @workgroup_size(64, 1)
fn bar(@builtin(global_invocation_id) at: vec3<u32>) {
    if at.x < stage.bar.width {
        var step = at.x * 256u / stage.bar.width;
        var which = 0u;
        if stage.two_sided == 1u {
            which = select(0u, 1u, step < 128u);
            step = select(2u * step - 255u, 255u - 2u * step, step < 128u);
        }
        put(stage.bar.x + at.x, stage.bar.y + at.y, ramp(which, step));
    }
}
