//! What is pinned in a bpf file system.
//!
//! Programs and maps are loaded by others (aya, in the eBPF plane); this is what they leave out.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{Context, Error, Result};

/// A command of bpf(2), from linux/bpf.h.
const BPF_OBJ_GET: libc::c_long = 7;

/// The arguments of `BPF_OBJ_GET` (linux/bpf.h).
#[repr(C)]
struct ObjectGet {
    path: u64,
    fd: u32,
    flags: u32,
}

/// Opens the program, map or link that is pinned at `path`.
///
/// # Errors
/// When there is none, or this process may not.
#[expect(unsafe_code, reason = "bpf(2) has no wrapper among our crates")]
pub fn open_pinned(path: &Path) -> Result<OwnedFd> {
    let action = || format!("open what is pinned at {}", path.display());
    let text = CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::kernel(action(), io::Error::from(io::ErrorKind::InvalidInput)))?;
    let address = u64::try_from(text.as_ptr().addr()).unwrap_or(0);
    let get = ObjectGet { path: address, fd: 0, flags: 0 };
    // SAFETY: `get` and the text it points to live across the call, and its size is passed.
    // JUSTIFICATION: aya keeps the descriptor of a link to itself, and a link's state can be read
    // through its descriptor only.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_OBJ_GET, &raw const get, size_of::<ObjectGet>())
    };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error);
    // SAFETY: the kernel just made this descriptor (close-on-exec, always) for us alone.
    // JUSTIFICATION: it must be closed with its owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd.during(action)?) })
}

/// Whether the link pinned at `path` is attached to something: whoever may can detach a link that
/// others pinned, and it stays there without effect.
///
/// # Errors
/// As [`open_pinned`].
pub fn is_attached(path: &Path) -> Result<bool> {
    let link = open_pinned(path)?;
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", link.as_raw_fd()))
        .during(|| format!("read the state of the link at {}", path.display()))?;
    Ok(holds_on(&text))
}

/// A link that has been detached names 0 as what it is attached to.
fn holds_on(state: &str) -> bool {
    let values = state.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        matches!(name, "cgroup_id" | "netns_ino").then(|| value.trim())
    });
    values.into_iter().all(|value| value != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detached_link_is_attached_to_nothing() {
        let attached =
            "pos:\t0\nlink_type:\tcgroup\nlink_id:\t3\ncgroup_id:\t1\nattach_type:\t10\n";
        assert!(holds_on(attached));
        assert!(!holds_on(&attached.replace("cgroup_id:\t1", "cgroup_id:\t0")));
        assert!(!holds_on("link_type:\tnetns\nnetns_ino:\t0\n"));
    }

    #[test]
    fn what_is_not_pinned_says_where_it_is_missing() {
        let text = open_pinned(Path::new("/proc/nothing")).unwrap_err().to_string();
        assert!(text.contains("/proc/nothing"), "{text}");
    }
}
