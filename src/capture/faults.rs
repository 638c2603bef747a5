//! Who wrote: the sampled faults of a window, thread by thread.
//!
//! A sample says which thread took a fault where; the scan says which pages were written. Their intersection is what is
//! reported: faults of other kinds (first reads, program text) fall out. The share of a thread in the samples of the last second is
//! what the governor weighs its budget by.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use super::PageRange;
use super::target::proc_path;

/// What one thread wrote in a window, as far as it was sampled.
#[derive(Debug, Clone, PartialEq)]
pub struct ThreadWrites {
    /// The thread.
    pub tid: u32,
    /// Its name, at most fifteen bytes.
    pub name: Arc<str>,
    /// Pages of the window's `written` whose write fault was sampled in this thread, by their first address, in address order.
    pub pages: Vec<u64>,
    /// Write faults of the thread in the window, estimated: each sample stands for several.
    pub faults: f64,
}

/// A sampled fault.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    pub tid: u32,
    pub address: u64,
    pub faults: u64,
}

/// The part of the weights that is left after one second.
const KEPT_PER_SECOND: f64 = 0.3;
/// Names that are remembered; of more threads the names are read again.
const NAMES: usize = 4096;

/// The sampled faults of one target.
#[derive(Debug, Default)]
pub(super) struct ThreadFaults {
    names: HashMap<u32, Arc<str>>,
    /// Faults of each thread, older ones fading.
    weights: HashMap<u32, f64>,
    /// Samples on pages that the window did not name: their scan may have come before them.
    early: Vec<Fault>,
}

impl ThreadFaults {
    /// A thread has this name from now on.
    pub fn named(&mut self, tid: u32, name: &str) {
        self.names.insert(tid, name.into());
    }

    /// Takes the samples of one window.
    pub fn window(
        &mut self,
        pid: u32,
        faults: Vec<Fault>,
        written: &[PageRange],
        page_size: u64,
        length: Duration,
    ) -> Vec<ThreadWrites> {
        let named = |fault: &Fault| {
            let behind = written.partition_point(|range| range.start <= fault.address);
            behind > 0 && written.get(behind - 1).is_some_and(|range| fault.address < range.end)
        };
        let fading = KEPT_PER_SECOND.powf(length.as_secs_f64());
        self.weights.values_mut().for_each(|weight| *weight *= fading);
        self.weights.retain(|_, weight| *weight > 0.01);
        let mut threads: BTreeMap<u32, (Vec<u64>, f64)> = BTreeMap::new();
        let mut take = |fault: &Fault| {
            let (pages, sum) = threads.entry(fault.tid).or_default();
            pages.push(fault.address / page_size * page_size);
            *sum += fault.faults as f64;
        };
        let early = std::mem::take(&mut self.early);
        early.iter().filter(|fault| named(fault)).for_each(&mut take);
        let (now, later): (Vec<Fault>, Vec<Fault>) = faults.into_iter().partition(named);
        now.iter().for_each(&mut take);
        self.early = later;
        let weights = &mut self.weights;
        threads.iter().for_each(|(tid, (_, faults))| *weights.entry(*tid).or_default() += faults);
        if self.names.len() > NAMES {
            self.names.clear();
        }
        let with_name = |(tid, (mut pages, faults)): (u32, (Vec<u64>, f64))| {
            pages.sort_unstable();
            pages.dedup();
            ThreadWrites { tid, name: self.name(pid, tid), pages, faults }
        };
        threads.into_iter().map(with_name).collect()
    }

    /// Each thread's share in the faults of the last second; empty where there were none.
    pub fn shares(&self) -> Vec<(u32, f64)> {
        let all: f64 = self.weights.values().sum();
        if all <= 0.0 {
            return Vec::new();
        }
        self.weights.iter().map(|(tid, weight)| (*tid, weight / all)).collect()
    }

    fn name(&mut self, pid: u32, tid: u32) -> Arc<str> {
        let read = || {
            let name = fs::read(proc_path(pid, &format!("task/{tid}/comm"))).unwrap_or_default();
            String::from_utf8_lossy(&name).trim_end().into()
        };
        Arc::clone(self.names.entry(tid).or_insert_with(read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = 4096;
    const WINDOW: Duration = Duration::from_millis(17);

    fn fault(tid: u32, page: u64, faults: u64) -> Fault {
        Fault { tid, address: page * PAGE + 8, faults }
    }

    #[test]
    fn samples_on_written_pages_are_their_threads_and_others_wait_for_one_window() {
        let mut threads = ThreadFaults::default();
        threads.named(1, "one");
        threads.named(2, "two");
        let written = [PageRange::new(10 * PAGE, 20 * PAGE)];
        let samples =
            vec![fault(1, 12, 3), fault(1, 11, 2), fault(2, 19, 1), fault(2, 20, 50), fault(2, 9, 50)];
        let found = threads.window(0, samples, &written, PAGE, WINDOW);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].tid, &*found[0].name, found[0].faults), (1, "one", 5.0));
        assert_eq!(found[0].pages, [11 * PAGE, 12 * PAGE]);
        assert_eq!((found[1].pages.as_slice(), found[1].faults), ([19 * PAGE].as_slice(), 1.0));
        let later = [PageRange::new(20 * PAGE, 21 * PAGE)];
        let found = threads.window(0, Vec::new(), &later, PAGE, WINDOW);
        assert_eq!((found.len(), found[0].tid, found[0].faults), (1, 2, 50.0));
        assert!(threads.window(0, Vec::new(), &written, PAGE, WINDOW).is_empty());
        let shares: f64 = threads.shares().iter().map(|(_, share)| share).sum();
        assert!((shares - 1.0).abs() < 1e-9);
    }
}
