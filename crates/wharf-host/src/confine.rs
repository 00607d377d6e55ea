//! The last steps before a program is executed in a container: a filter of its system calls, and a
//! process of its own beside an init.

use std::io;

use seccompiler::sock_filter;

use crate::error::{Error, Result};

/// Puts the calling thread, and all that comes from it, under a filter.
///
/// Unlike `seccompiler::apply_filter` this leaves `no_new_privs` as it is, which takes
/// `CAP_SYS_ADMIN` where that is not set.
#[expect(unsafe_code, reason = "seccomp(2) is in no safe interface that leaves no_new_privs alone")]
pub fn install_filter(program: &[sock_filter]) -> Result<()> {
    let what = || "filter the container's system calls".to_owned();
    let mut instructions: Vec<libc::sock_filter> = program
        .iter()
        .map(|i| libc::sock_filter { code: i.code, jt: i.jt, jf: i.jf, k: i.k })
        .collect();
    let length = u16::try_from(instructions.len())
        .map_err(|_| Error::kernel(what(), io::Error::from_raw_os_error(libc::E2BIG)))?;
    let program = libc::sock_fprog { len: length, filter: instructions.as_mut_ptr() };
    // SAFETY: `program` points to `length` instructions that live until after the call; the kernel
    // copies and checks them.
    // JUSTIFICATION: rustix has no seccomp, and seccompiler sets no_new_privs first.
    let done = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            std::ptr::from_ref(&program),
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(Error::kernel(what(), io::Error::last_os_error())),
    }
}

/// Which side of a [`fork`] this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// The process that was there, and the number of the new one.
    Parent(i32),
    /// The new process.
    Child,
}

/// Makes a second process of this one.
///
/// # Errors
/// When the process has more than one thread, for then only the calling one would go on in the
/// child, with the locks of the others held for ever; and when the kernel refuses.
#[expect(unsafe_code, reason = "an init and its program must be two processes of one program")]
pub fn fork() -> Result<Fork> {
    let what = || "make a process".to_owned();
    let threads = std::fs::read_dir("/proc/self/task").map(Iterator::count);
    if threads.is_ok_and(|count| count > 1) {
        return Err(Error::kernel(what(), io::Error::other("this process has several threads")));
    }
    // SAFETY: there is one thread (where /proc can tell; callers are the shim's, which has one), so
    // the child is a whole copy.
    // JUSTIFICATION: starting a program instead would need one in the container's root.
    match unsafe { libc::fork() } {
        -1 => Err(Error::kernel(what(), io::Error::last_os_error())),
        0 => Ok(Fork::Child),
        number => Ok(Fork::Parent(number)),
    }
}

/// Closes every descriptor but the standard streams, whoever it belongs to.
///
/// For a process that does nothing afterwards but wait and end at once
/// ([`end_at_once`](crate::process::end_at_once)): descriptors that would be closed when a program
/// is executed stay open where none is.
#[expect(unsafe_code, reason = "close_range(2) has no safe interface")]
pub fn close_descriptors() {
    // SAFETY: owners of what is closed here are never asked again and never dropped, as the process
    // ends without running destructors.
    // JUSTIFICATION: what is open was opened by libraries that do not hand it out.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_program_is_refused_by_the_kernel() {
        assert!(install_filter(&[]).is_err());
    }

    #[test]
    fn a_process_with_threads_is_not_forked() {
        // Tests run in a thread beside the main one.
        assert!(fork().unwrap_err().to_string().contains("several threads"));
    }
}
