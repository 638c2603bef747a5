// Tiles of a map that have come one after another, to their places in its rows.

// Words from here on: along a row of a tile, in a tile, along a row of the map, tiles along its side, tiles that have come, and
// where the first of them begins. From 8: the place of each tile, counted row after row. From there: the tiles, row after row.
@group(0) @binding(0) var<storage, read> come: array<u32>;
@group(0) @binding(1) var<storage, read_write> map: array<u32>;

@compute @workgroup_size(64)
fn place(@builtin(global_invocation_id) at: vec3<u32>) {
    let run = come[0];
    let size = come[1];
    if at.x >= size || at.y >= come[4] {
        return;
    }
    let tile = come[8u + at.y];
    let across = come[3];
    // A tile has as many rows as cells in a row, which are two a word.
    let row = (tile / across) * (size / run) + at.x / run;
    let column = (tile % across) * run + at.x % run;
    map[row * come[2] + column] = come[come[5] + at.y * size + at.x];
}
