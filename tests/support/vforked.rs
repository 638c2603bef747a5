//! A process of root's with a child that has put root's user off and still is in root's memory: what vfork(2) makes, for as long as
//! executing the program takes.

use nix::libc;

/// The kernel's name of a mapping that only the parent's memory has.
pub const MARK: &str = "memory-of-root";

/// Says the child's number. The child executes `sleep` when it is told anything.
pub fn vforked(user: &str) {
    let user: libc::uid_t = user.parse().expect("a user's number");
    let mut stack = vec![0u8; 256 << 10];
    let mark = std::ffi::CString::new(MARK).expect("no zero in it");
    // SAFETY: a mapping of a new file that nothing is read from; the child has a stack of its own, which lives as long as this
    // process, and makes only system calls.
    unsafe {
        let file = libc::memfd_create(mark.as_ptr(), 0);
        assert_eq!(libc::ftruncate(file, 4096), 0);
        let mapped = libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ, libc::MAP_SHARED, file, 0);
        assert_ne!(mapped, libc::MAP_FAILED);
        let top = stack.as_mut_ptr().add(stack.len()).cast();
        let number = user as usize as *mut libc::c_void;
        let child = libc::clone(drop_and_execute, top, libc::CLONE_VM | libc::SIGCHLD, number);
        assert!(child > 0, "no child");
        super::programs::say(&child.to_string());
        loop {
            libc::pause();
        }
    }
}

extern "C" fn drop_and_execute(user: *mut libc::c_void) -> libc::c_int {
    let user = user as usize;
    let mut byte = 0u8;
    let arguments = [c"sleep".as_ptr(), c"60".as_ptr(), std::ptr::null()];
    // SAFETY: system calls on numbers and on this stack. Not the library's own functions, which would change every thread.
    unsafe {
        libc::syscall(libc::SYS_setresgid, user, user, user);
        libc::syscall(libc::SYS_setresuid, user, user, user);
        libc::syscall(libc::SYS_read, 0, &raw mut byte, 1);
        let nothing: [*const libc::c_char; 1] = [std::ptr::null()];
        libc::syscall(libc::SYS_execve, c"/bin/sleep".as_ptr(), arguments.as_ptr(), nothing.as_ptr());
        libc::syscall(libc::SYS_exit, 1);
    }
    1
}
