//! Debian's firewalls on a host: the real ufw, firewalld and iptables, with copies of their
//! settings.
//!
//! What they write is kept to the lab's directory by a mount namespace, and what they load into
//! the kernel goes with the host's network namespace. The machine's own firewall is never asked.

mod firewalld;
mod iptables;
mod ufw;

use std::path::Path;

pub use self::firewalld::{Firewalld, ForwardPorts};
pub use self::iptables::Iptables;
pub use self::ufw::Ufw;

/// Whether `programs` are here; prints why a test skips where they are not.
fn installed(programs: &[&str], package: &str) -> bool {
    let missing = programs.iter().find(|program| !Path::new(program).exists());
    if let Some(program) = missing {
        eprintln!("skipped: {program} is not installed (Debian: {package})");
    }
    missing.is_none()
}
