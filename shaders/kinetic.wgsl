// Thread kinetic energy: of each cell the thread with the most of it, E = m v^2 / 2, where m is what the thread wrote there
// and v how far its centre of writing moved along the curve. A thread's `scale` is 2^16 * 65535 * v^2 over the largest m v^2,
// so that m * scale never passes 32 bits and its upper half is the level.

struct Thread { scale: u32, ramp: u32, unused_1: u32, unused_2: u32 }
struct Work { count: u32, unused_1: u32, unused_2: u32, unused_3: u32, threads: array<Thread, 64> }

@group(0) @binding(0) var<uniform> work: Work;
// Cell, and the thread's number over what it wrote there (16 bits each).
@group(0) @binding(1) var<storage, read> writes: array<vec2<u32>>;
// All 0 before.
@group(0) @binding(2) var<storage, read_write> coded: array<atomic<u32>>;

@compute @workgroup_size(64)
fn kinetic(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let which = at.y * groups.x * 64u + at.x;
    if which >= work.count {
        return;
    }
    let write = writes[which];
    let thread = work.threads[write.y >> 16u];
    let level = ((write.y & 0xffffu) * thread.scale) >> 16u;
    // The largest word wins, whichever comes first.
    atomicMax(&coded[write.x], (level << 16u) | thread.ramp);
}
