//! For tests: a process with one thread. The test harness always has several, and confinement
//! cannot be undone.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};

use rustix::process::{Pid, WaitOptions, waitpid};

/// A fork that hangs is ended by SIGALRM after this many seconds.
const LIMIT: u32 = 30;

/// Runs `work` in a fork and fails when it fails there.
#[expect(unsafe_code, reason = "there is no safe fork")]
pub(crate) fn in_a_fork(work: impl FnOnce()) {
    // SAFETY: the child runs `work` and ends without returning into the harness. That it
    // allocates after a fork of several threads is what glibc and musl allow.
    // JUSTIFICATION: executing the test binary anew gives a harness with threads again.
    let number = unsafe { libc::fork() };
    if number == 0 {
        let failed = run(work);
        // SAFETY: _exit runs no destructor and no handler.
        // JUSTIFICATION: the harness's handlers at exit belong to the parent.
        unsafe { libc::_exit(i32::from(failed)) }
    }
    let child = Pid::from_raw(number).expect("a child");
    let (_, status) = waitpid(Some(child), WaitOptions::empty()).unwrap().unwrap();
    assert_eq!(status.exit_status(), Some(0), "{status:?}; what failed is above");
}

#[expect(unsafe_code, reason = "there is no safe alarm")]
fn run(work: impl FnOnce()) -> bool {
    // SAFETY: takes a number; the signal's default is to end this process, which is wanted.
    // JUSTIFICATION: a confined process that hangs can be ended by nothing that it may still do.
    unsafe { libc::alarm(LIMIT) };
    // The harness's own hook writes into a buffer that ends with this process.
    set_hook(Box::new(|panic| {
        let text = format!("in the fork: {panic}\n");
        let _written = std::io::stderr().write_all(text.as_bytes());
    }));
    catch_unwind(AssertUnwindSafe(work)).is_err()
}
