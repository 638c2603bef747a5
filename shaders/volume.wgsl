// The curve's plane over time as a volume: rays through boxes of density, nearest sample, front to back. The one stage that
// computes on floats; its reference on the CPU allows for their rounding.

struct Work {
    // Across, down and into the picture, as the camera has them, in the space of the volume: a cube from -1 to 1.
    right: vec4<f32>,
    down: vec4<f32>,
    forward: vec4<f32>,
    // The picture: words from a row to the next, the map's first pixel, and its side; boxes along each axis of the volume.
    stride: u32,
    first: u32,
    side: u32,
    boxes: u32,
    layers: u32,
    background: u32,
    logarithmic: u32,
    unused: u32,
    palette: array<vec4<u32>, 64>,
}

@group(0) @binding(0) var<uniform> work: Work;
// Densities 0..255, four a word, x fastest, then y, then time, the newest first.
@group(0) @binding(1) var<storage, read> volume: array<u32>;
@group(0) @binding(2) var<storage, read_write> picture: array<u32>;

const STEPS: u32 = 160u;
// The diagonal of the cube.
const REACH: f32 = 3.4641016;
// How much of what is behind a step of full density hides.
const OPACITY: f32 = 0.35;

fn channels(color: u32) -> vec3<f32> {
    return vec3<f32>(f32((color >> 16u) & 0xffu), f32((color >> 8u) & 0xffu), f32(color & 0xffu));
}

fn box_at(x: u32, y: u32, t: u32) -> u32 {
    let at = (t * work.boxes + y) * work.boxes + x;
    return (volume[at >> 2u] >> (8u * (at & 3u))) & 0xffu;
}

fn inside(at: f32, count: u32) -> u32 {
    return min(u32((at + 1.0) * 0.5 * f32(count)), count - 1u);
}

@compute @workgroup_size(8, 8)
fn march(@builtin(global_invocation_id) at: vec3<u32>) {
    if at.x >= work.side || at.y >= work.side {
        return;
    }
    // Parallel rays: what is far is no smaller, so that time and place can be read off. 1.8 fits the cube's diagonal.
    let u = ((f32(at.x) + 0.5) / f32(work.side) * 2.0 - 1.0) * 1.8;
    let v = ((f32(at.y) + 0.5) / f32(work.side) * 2.0 - 1.0) * 1.8;
    let eye = work.right.xyz * u + work.down.xyz * v - work.forward.xyz * (REACH / 2.0);
    var color = vec3<f32>(0.0);
    var clear = 1.0;
    for (var i = 0u; i < STEPS; i++) {
        let point = eye + work.forward.xyz * ((f32(i) + 0.5) * (REACH / f32(STEPS)));
        let farthest = max(abs(point.x), max(abs(point.y), abs(point.z)));
        if farthest < 1.0 {
            let value = box_at(inside(point.x, work.boxes), inside(point.y, work.boxes), inside(point.z, work.layers));
            if value > 0u {
                let octave = firstLeadingBit(value);
                let log_step = (octave << 5u) + (((value << (7u - octave)) & 0x7fu) >> 2u);
                let step = select(value, log_step, work.logarithmic == 1u);
                let alpha = OPACITY * f32(step) / 255.0;
                color += channels(work.palette[step >> 2u][step & 3u]) * (alpha * clear);
                clear *= 1.0 - alpha;
                if clear < 0.01 {
                    break;
                }
            }
        }
    }
    let shown = vec3<u32>(color + channels(work.background) * clear + vec3<f32>(0.5));
    let over = min(shown, vec3<u32>(255u));
    picture[work.first + at.y * work.stride + at.x] = 0xff000000u | (over.x << 16u) | (over.y << 8u) | over.z;
}
