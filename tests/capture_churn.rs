//! Targets that fork, execute, map and end as fast as they can: each attach gets one of them as it is or says why not, and nothing that they
//! compute changes.

mod support;

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memory_glass::capture::{CaptureEvent, GlassRamMonitor, MonitorConfig};
use support::{Target, assert_untouched};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_target_that_never_stands_still_is_watched_or_refused_and_never_harmed() {
    let mut target = Target::start("churn");
    let pid = target.pid();
    let (rounds, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let (mut watched, mut refused, mut ended) = (0, 0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                assert_eq!(target.line(), "right", "after {} rounds", rounds.load(Ordering::Relaxed));
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        });
        let begun = Instant::now();
        // A busy machine takes so long to attach that most have executed anew by then.
        while watched + refused < 80 || watched <= 20 && begun.elapsed() < PATIENCE {
            match GlassRamMonitor::with_config(pid, MonitorConfig::exact()) {
                Ok(mut monitor) => {
                    watched += 1;
                    // An exec ends the watch: it is another program then.
                    let gone = (0..3).any(|_| !matches!(monitor.scan(), Ok(CaptureEvent::Window(_))));
                    ended += u32::from(gone);
                }
                Err(error) => {
                    refused += 1;
                    assert!(!error.to_string().is_empty());
                }
            }
        }
        let so_far = rounds.load(Ordering::Relaxed);
        while rounds.load(Ordering::Relaxed) < so_far + 20 {
            std::thread::yield_now();
        }
        over.store(true, Ordering::Relaxed);
    });
    println!("{watched} watched, of which {ended} executed anew meanwhile; {refused} refused");
    assert!(watched > 20, "{watched} watched, {refused} refused");
    assert_untouched(pid);
}

#[test]
fn a_program_that_ends_at_once_ends_as_it_would_have() {
    let mut watched = 0;
    for _ in 0..200 {
        let mut program = Command::new("true").spawn().expect("started");
        watched += u32::from(GlassRamMonitor::new(program.id()).is_ok());
        assert!(program.wait().expect("our own child").success());
    }
    println!("{watched} of 200 were attached to");
}
