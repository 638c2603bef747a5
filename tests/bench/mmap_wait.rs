//! How long the target's mmap(2) waits for an attach, for windows, and for being let go of.
//!
//! `cargo bench --bench mmap_wait`: targets of 0.25 and 1 GiB; `MEMORY_GLASS_SIZES=256,5120,10240` takes others, MiB. The longest of each
//! round; beside it the longest in as much time without us, because the machine makes waits as well.

#![allow(unsafe_code)]

#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use support::work::Gaps;
use support::{exact, window};

const ROUNDS: usize = 10;

fn main() {
    let sizes = std::env::var("MEMORY_GLASS_SIZES").unwrap_or_else(|_| "256,1024".into());
    println!(
        "{ROUNDS} rounds; the longest mmap(2) of the target: median and worst of the rounds, milliseconds"
    );
    for mib in sizes.split(',') {
        let target = Gaps::of(&format!("maps {mib}"));
        let pid = target.target.pid();
        let mut longest = [const { Vec::new() }; 4];
        let (mut detached, mut stopped) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let mut monitor = None;
            longest[1].push(during(&target, || monitor = Some(exact(pid))));
            let mut monitor = monitor.expect("attached");
            stopped.extend(monitor.attach_metrics().stop.map(|stop| stop.stopped));
            longest[2].push(during(&target, || {
                for _ in 0..3 {
                    std::thread::sleep(Duration::from_millis(100));
                    window(&mut monitor);
                }
            }));
            let begun = Instant::now();
            longest[3].push(during(&target, || monitor.detach().expect("detached")));
            detached.push(begun.elapsed());
            longest[0].push(during(&target, || std::thread::sleep(Duration::from_millis(500))));
        }
        println!("\n{mib} MiB");
        for (what, longest) in ["undisturbed, 0.5 s", "attach", "three windows", "detach"].iter().zip(longest)
        {
            report(what, longest);
        }
        report("(a thread stopped)", stopped);
        report("(detach as a whole)", detached);
    }
}

fn during(target: &Gaps, act: impl FnOnce()) -> Duration {
    target.reset();
    act();
    // One that waits still is counted when it is over.
    std::thread::sleep(Duration::from_millis(5));
    target.longest()
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let ms = |at: usize| times.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
    println!("  {what:<24}{:>9.2}{:>9.2}", ms(times.len() / 2), ms(times.len() - 1));
}
