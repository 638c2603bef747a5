//! What becomes of the call that a thread was interrupted in.
//!
//! Runs in the helper, under its rules (no allocation, no locks, no panics).

use nix::libc::{self, c_int, c_long, user_regs_struct};

use super::helper::system_call;
use super::plan::{Path, Plan};
use super::ptrace::{now_ns, read_file};
use crate::capture::sys::SYS_IO_PGETEVENTS;

/// Calls that the kernel never restarts by itself after a stop: some always, the socket calls when a time
/// limit is set on them. All of them have done nothing yet when they answer EINTR, so they can be made once
/// more. Exact is that where no limit is involved, and others are only interrupted when the person wants it
/// or in the moment in which they begin.
pub(super) fn answers_eintr(call: i64) -> bool {
    matches!(
        call,
        libc::SYS_epoll_wait
            | libc::SYS_epoll_pwait
            | libc::SYS_epoll_pwait2
            | libc::SYS_semop
            | libc::SYS_semtimedop
            | libc::SYS_rt_sigtimedwait
            | libc::SYS_msgrcv
            | libc::SYS_msgsnd
            | libc::SYS_io_getevents
            | SYS_IO_PGETEVENTS
            | libc::SYS_io_uring_enter
            | libc::SYS_accept
            | libc::SYS_accept4
            | libc::SYS_read
            | libc::SYS_readv
            | libc::SYS_recvfrom
            | libc::SYS_recvmsg
            | libc::SYS_recvmmsg
            | libc::SYS_write
            | libc::SYS_writev
            | libc::SYS_sendto
            | libc::SYS_sendmsg
            | libc::SYS_sendmmsg
    )
}

/// Takes what has passed of the call's time off its limit.
pub(super) fn shorten_limit(plan: &Plan, registers: &mut user_regs_struct) {
    let limited = matches!(registers.orig_rax as i64, libc::SYS_epoll_wait | libc::SYS_epoll_pwait);
    let limit = registers.r10 as c_int;
    if plan.asleep_since_ns == 0 || !limited || limit <= 0 {
        return;
    }
    let passed_ms = now_ns().saturating_sub(plan.asleep_since_ns) / 1_000_000;
    registers.r10 = (limit as u64).saturating_sub(passed_ms);
}

/// A transfer that ended early because of us, in a call whose arguments are registers alone: the registers
/// with which the rest of it is made, behind how much there is already. That it ended early of itself is not
/// to be told apart here, and does no harm: the rest then ends at once, as it did.
pub(super) fn rest_of_transfer(
    registers: &user_regs_struct,
    descriptor: Descriptor,
) -> Option<user_regs_struct> {
    let call = registers.orig_rax as c_long;
    let waits = match call {
        libc::SYS_write | libc::SYS_pwrite64 | libc::SYS_sendfile => descriptor.waits,
        libc::SYS_sendto => descriptor.waits && registers.r10 & libc::MSG_DONTWAIT as u64 == 0,
        libc::SYS_recvfrom => descriptor.waits && registers.r10 & libc::MSG_WAITALL as u64 != 0,
        // Whatever else is read from gives what it has.
        libc::SYS_read | libc::SYS_pread64 => descriptor.endless,
        libc::SYS_getrandom => true,
        _ => false,
    };
    let done = registers.rax;
    let mut rest = *registers;
    let count = match call {
        libc::SYS_getrandom => &mut rest.rsi,
        libc::SYS_sendfile => &mut rest.r10,
        _ => &mut rest.rdx,
    };
    if !waits || done as i64 <= 0 || done >= *count {
        return None;
    }
    *count = count.wrapping_sub(done);
    match call {
        libc::SYS_getrandom => rest.rdi = rest.rdi.wrapping_add(done),
        // It moves the offset in the file by itself.
        libc::SYS_sendfile => {}
        _ => rest.rsi = rest.rsi.wrapping_add(done),
    }
    if matches!(call, libc::SYS_pwrite64 | libc::SYS_pread64) {
        rest.r10 = rest.r10.wrapping_add(done);
    }
    rest.rip = rest.rip.wrapping_sub(2);
    rest.rax = rest.orig_rax;
    rest.orig_rax = u64::MAX;
    Some(rest)
}

/// What matters of the descriptor that a transfer goes over.
#[derive(Clone, Copy, Default)]
pub(super) struct Descriptor {
    /// A call waits until all is done (no O_NONBLOCK).
    pub waits: bool,
    /// There is always more of it: /dev/zero and the like.
    pub endless: bool,
}

impl Descriptor {
    /// Of the descriptor that is the call's first argument.
    pub unsafe fn of(plan: &Plan, registers: &user_regs_struct) -> Self {
        // SAFETY: system calls on buffers of this stack that outlive them.
        unsafe {
            let (mut info, mut link) = ([0; 512], [0; 64]);
            let flags = read_file(&descriptor_path(plan, b"/fdinfo/", registers.rdi), &mut info)
                .ok()
                .and_then(|length| octal(info.get(..length)?, b"flags:"));
            let path = descriptor_path(plan, b"/fd/", registers.rdi);
            let (path, into) = (path.as_ptr() as c_long, link.as_mut_ptr() as c_long);
            let arguments = [libc::AT_FDCWD.into(), path, into, link.len() as c_long, 0, 0];
            let _ = system_call(libc::SYS_readlinkat, arguments);
            let endless = [b"/dev/zero\0", b"/dev/full\0"].iter().any(|name| link.starts_with(*name))
                || [b"/dev/urandom\0".as_slice(), b"/dev/random\0"].iter().any(|name| link.starts_with(name));
            Self { waits: flags.is_some_and(|flags| flags & libc::O_NONBLOCK as u64 == 0), endless }
        }
    }
}

/// The path of the thread's own folder, with this behind it.
fn descriptor_path(plan: &Plan, folder: &[u8], fd: u64) -> Path {
    let mut digits = [0; 20];
    let (mut left, mut first) = (u64::from(fd as u32), digits.len());
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0'.wrapping_add((left % 10) as u8);
        first = at;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    let task = plan.stat.split(|byte| *byte == 0).next().unwrap_or_default();
    let task = task.strip_suffix(b"/stat").unwrap_or_default();
    let mut path: Path = [0; 64];
    let parts = task.iter().chain(folder).chain(digits.get(first..).unwrap_or_default());
    path.iter_mut().zip(parts).for_each(|(to, from)| *to = *from);
    path
}

fn octal(text: &[u8], name: &[u8]) -> Option<u64> {
    let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(name))?;
    let word = line.split(|byte| byte.is_ascii_whitespace()).find(|word| !word.is_empty())?;
    let digit = |byte: &u8| u64::from(byte.wrapping_sub(b'0'));
    Some(word.iter().fold(0, |number: u64, byte| number.wrapping_mul(8).wrapping_add(digit(byte))))
}
