//! Numbers of the target that are cheap enough to be read in every window.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use super::CaptureError;
use super::target::{open_proc, stat_fields};

/// The open files of one process.
#[derive(Debug)]
pub(super) struct Vitals {
    pid: u32,
    stat: File,
    statm: File,
}

impl Vitals {
    pub fn open(pid: u32) -> Result<Self, CaptureError> {
        Ok(Self { pid, stat: open_proc(pid, "stat")?, statm: open_proc(pid, "statm")? })
    }

    /// Page faults that its threads have taken so far, dead ones included. A write to an armed page is one: as long as
    /// this number stands still, the process itself has written to none. (Others may have, with process_vm_writev(2) say.)
    pub fn faults(&self) -> Option<u64> {
        const MINOR: usize = 7;
        const MAJOR: usize = 9;
        let [minor, major] = self.stat([MINOR, MAJOR])?;
        Some(minor + major)
    }

    /// Processor time that its threads have spent in the kernel, in hundredths of a second.
    pub fn kernel_time(&self) -> Option<u64> {
        const KERNEL: usize = 12;
        let [kernel] = self.stat([KERNEL])?;
        Some(kernel)
    }

    fn stat<const N: usize>(&self, fields: [usize; N]) -> Option<[u64; N]> {
        let mut buffer = [0; 1024];
        let length = self.stat.read_at(&mut buffer, 0).ok()?;
        let found = stat_fields(buffer.get(..length)?);
        let mut numbers = [0; N];
        for (number, at) in numbers.iter_mut().zip(fields) {
            *number = found.get(at)?.parse().ok()?;
        }
        Some(numbers)
    }

    /// Bytes of it that are in memory.
    pub fn resident(&self, page_size: u64) -> Option<u64> {
        let [_, resident, ..] = self.sizes()?;
        Some(resident * page_size)
    }

    /// Pages of address space, all and data: when they change, so has the table of mappings. (They may stay while it changes.)
    pub fn size(&self) -> Option<(u64, u64)> {
        let [all, _, _, _, _, data] = self.sizes()?;
        Some((all, data))
    }

    fn sizes(&self) -> Option<[u64; 6]> {
        let mut buffer = [0; 128];
        let length = self.statm.read_at(&mut buffer, 0).ok()?;
        let text = std::str::from_utf8(buffer.get(..length)?).ok()?;
        let mut fields = text.split_ascii_whitespace().map(str::parse::<u64>);
        let mut sizes = [0; 6];
        for size in &mut sizes {
            *size = fields.next()?.ok()?;
        }
        Some(sizes)
    }

    /// Processor time of all its threads together, from its own clock.
    pub fn processor_time(&self) -> Option<Duration> {
        processor_time(self.pid)
    }
}

/// Processor time of all threads of a process together, from its own clock.
pub(super) fn processor_time(pid: u32) -> Option<Duration> {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid as i32)).ok()?;
    let time = clock_gettime(clock).ok()?;
    Some(Duration::from_nanos(u64::try_from(time.num_nanoseconds()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::probe::Scratch;

    #[test]
    fn faults_and_mappings_move_the_numbers() {
        let vitals = Vitals::open(std::process::id()).expect("we may look at ourselves");
        let (faults, size) = (vitals.faults().expect("read"), vitals.size().expect("read"));
        let scratch = Scratch::new().expect("mapped");
        assert!(vitals.size().expect("read").0 > size.0);
        scratch.write_each_page();
        let after = vitals.faults().expect("read");
        assert!(after >= faults + Scratch::PAGES as u64, "{faults} then {after}");
        assert!(vitals.processor_time().is_some());
    }
}
