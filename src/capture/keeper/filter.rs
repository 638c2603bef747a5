//! What a keeper can still ask of the kernel.
//!
//! What the filter does not know answers EPERM; ending the keeper for it would cost the target its huge
//! pages.

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use super::kernel::{Kernel, UFFDIO_REGISTER};
use crate::capture::sys::{MADV_COLLAPSE, PAGEMAP_SCAN, UFFDIO_UNREGISTER};

/// The requests of ioctl(2) of a keeper, for who starts one under a filter of its own.
pub(in crate::capture) const IOCTLS: &[u64] = &[UFFDIO_REGISTER, UFFDIO_UNREGISTER, PAGEMAP_SCAN];

/// The filter of a keeper with these descriptors.
pub(super) fn program(fds: &Kernel) -> Result<BpfProgram, seccompiler::BackendError> {
    let is = |index, value: u64| {
        SeccompCondition::new(index, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value & 0xffff_ffff)
    };
    let on = |fd: i32| is(0, fd as u64);
    let rule = |conditions: Vec<SeccompCondition>| SeccompRule::new(conditions);
    let whatever = Vec::new;
    let nowhere = SeccompCondition::new(4, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?;
    let rules = [
        (libc::SYS_recvfrom, vec![rule(vec![on(fds.socket)?, nowhere.clone()])?]),
        (libc::SYS_sendto, vec![rule(vec![on(fds.socket)?, nowhere])?]),
        (
            libc::SYS_ioctl,
            vec![
                rule(vec![on(fds.uffd)?, is(1, UFFDIO_REGISTER)?])?,
                rule(vec![on(fds.uffd)?, is(1, UFFDIO_UNREGISTER)?])?,
                rule(vec![on(fds.pagemap)?, is(1, PAGEMAP_SCAN)?])?,
            ],
        ),
        (
            libc::SYS_process_madvise,
            vec![rule(vec![on(fds.pidfd)?, is(3, MADV_COLLAPSE as u64)?, is(4, 0)?])?],
        ),
        (libc::SYS_lseek, vec![rule(vec![on(fds.descriptors)?])?]),
        (libc::SYS_getdents64, vec![rule(vec![on(fds.descriptors)?])?]),
        (libc::SYS_readlinkat, vec![rule(vec![on(fds.descriptors)?])?]),
        (libc::SYS_close, vec![rule(vec![on(fds.uffd)?])?]),
        (libc::SYS_poll, whatever()),
        (libc::SYS_clock_gettime, whatever()),
        (libc::SYS_clock_nanosleep, whatever()),
        // A wait that a SIGSTOP has interrupted goes on by this.
        (libc::SYS_restart_syscall, whatever()),
        (libc::SYS_exit_group, whatever()),
    ];
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(rules.into_iter().collect(), refuse, SeccompAction::Allow, TargetArch::x86_64)?
        .try_into()
}

#[cfg(test)]
mod tests {
    use super::super::memory::STEPS;
    use super::*;

    #[test]
    fn the_filter_fits_into_its_place() {
        let fds = Kernel { socket: 4000, uffd: 4001, pidfd: 4002, pagemap: 4003, descriptors: 4004 };
        let length = program(&fds).expect("built").len();
        assert!((20..=STEPS).contains(&length), "{length}");
    }
}
