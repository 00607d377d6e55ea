use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::thread;

use libc::c_long;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};

use super::single::in_a_fork;
use super::*;
use crate::{fdpass, netns};

const KEPT: CapabilitySet = CapabilitySet::NET_RAW.union(CapabilitySet::NET_BIND_SERVICE);

fn relay() -> Confinement {
    Confinement { capabilities: KEPT, unlink_in: None, syscalls: Profile::Relay }
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: this test needs root");
    }
    root
}

/// Enters, and says what this kernel cannot do.
fn enter(confinement: &Confinement) -> Entered {
    let entered = confinement.enter().unwrap();
    for layer in entered.missing() {
        eprintln!("skipped in part: this kernel has no {layer}");
    }
    entered
}

#[expect(unsafe_code, reason = "calls that are to be refused have no safe form")]
fn call(number: c_long, arguments: [c_long; 5]) -> Result<c_long, i32> {
    let [a, b, c, d, e] = arguments;
    // SAFETY: the arguments are numbers or null; the calls either fail or touch no memory.
    // JUSTIFICATION: the test is about the kernel's answer to the bare call.
    let answer = unsafe { libc::syscall(number, a, b, c, d, e) };
    if answer == -1 { Err(io::Error::last_os_error().raw_os_error().unwrap()) } else { Ok(answer) }
}

fn status_lines(mut status: &File) -> Vec<String> {
    let mut text = String::new();
    status.read_to_string(&mut text).unwrap();
    text.lines().map(|line| line.replace('\t', " ")).collect()
}

#[test]
fn every_layer_that_the_kernel_has_takes_effect() {
    // LANDLOCK_CREATE_RULESET_VERSION of linux/landlock.h.
    let abi = call(libc::SYS_landlock_create_ruleset, [0, 0, 1, 0, 0]).ok();
    let filters = Path::new("/proc/sys/kernel/seccomp/actions_avail").exists();
    in_a_fork(|| {
        let entered = enter(&relay());
        assert_eq!(entered.landlock.map(c_long::from), abi.map(|abi| abi.min(7)));
        assert_eq!(entered.seccomp, filters);
    });
}

#[test]
fn no_file_can_be_opened() {
    in_a_fork(|| {
        let entered = enter(&relay());
        for path in ["/", "/etc/passwd", "/dev/null", "/proc/self/status", "/proc/self/exe"] {
            let errors = [
                File::open(path).unwrap_err(),
                OpenOptions::new().write(true).open(path).unwrap_err(),
            ];
            for error in errors {
                assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{path}: {error}");
            }
        }
        let here = std::env::temp_dir();
        assert_eq!(fs::read_dir(&here).unwrap_err().kind(), ErrorKind::PermissionDenied);
        let new = here.join(format!("wharf-sandbox-{}", std::process::id()));
        assert_eq!(File::create(&new).unwrap_err().kind(), ErrorKind::PermissionDenied);
        if entered.seccomp {
            assert_eq!(fs::create_dir(&new).unwrap_err().raw_os_error(), Some(libc::EPERM));
        }
    });
}

#[test]
fn landlock_alone_keeps_files_closed_even_without_the_filter() {
    in_a_fork(|| {
        if files::deny_all_but_removal(None).is_err() {
            privileges::keep_only(CapabilitySet::empty()).unwrap();
            files::deny_all_but_removal(None).unwrap();
        }
        match File::open("/etc/passwd") {
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EACCES)),
            Ok(_) => eprintln!("skipped: this kernel has no landlock"),
        }
    });
}

#[test]
fn nothing_can_be_executed_and_no_process_made() {
    in_a_fork(|| {
        if !enter(&relay()).seccomp {
            return;
        }
        let error = Command::new("/bin/true").spawn().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
        let program = CString::new("/bin/true").unwrap();
        let path = program.as_ptr().expose_provenance();
        let path = c_long::try_from(path).unwrap();
        assert_eq!(call(libc::SYS_execve, [path, 0, 0, 0, 0]), Err(libc::EPERM));
        assert_eq!(call(libc::SYS_execveat, [-100, path, 0, 0, 0]), Err(libc::EPERM));
        let child = c_long::from(libc::SIGCHLD);
        assert_eq!(call(libc::SYS_clone, [child, 0, 0, 0, 0]), Err(libc::EPERM));
        let network = c_long::from(libc::CLONE_THREAD | libc::CLONE_VM | libc::CLONE_NEWNET);
        assert_eq!(call(libc::SYS_clone, [network, 0, 0, 0, 0]), Err(libc::EPERM));
        assert_eq!(call(libc::SYS_clone3, [0; 5]), Err(libc::ENOSYS));
    });
}

#[test]
fn dangerous_calls_are_refused() {
    let page = c_long::from(libc::PROT_READ | libc::PROT_EXEC);
    let private = c_long::from(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let refused = [
        ("mmap", libc::SYS_mmap, [0, 4096, page, private, -1]),
        ("mprotect", libc::SYS_mprotect, [0, 0, page, 0, 0]),
        ("ptrace", libc::SYS_ptrace, [0; 5]),
        ("process_vm_readv", libc::SYS_process_vm_readv, [0; 5]),
        ("process_vm_writev", libc::SYS_process_vm_writev, [0; 5]),
        ("bpf", libc::SYS_bpf, [0; 5]),
        ("io_uring_setup", libc::SYS_io_uring_setup, [1, 0, 0, 0, 0]),
        ("mount", libc::SYS_mount, [0; 5]),
        ("umount2", libc::SYS_umount2, [0; 5]),
        ("fsopen", libc::SYS_fsopen, [0; 5]),
        ("open_tree", libc::SYS_open_tree, [0; 5]),
        ("chroot", libc::SYS_chroot, [0; 5]),
        ("pivot_root", libc::SYS_pivot_root, [0; 5]),
        ("setns", libc::SYS_setns, [0; 5]),
        ("unshare", libc::SYS_unshare, [0; 5]),
        ("sched_setaffinity", libc::SYS_sched_setaffinity, [1, 0, 0, 0, 0]),
        ("setuid", libc::SYS_setuid, [0; 5]),
        ("capset", libc::SYS_capset, [0; 5]),
        ("memfd_create", libc::SYS_memfd_create, [0; 5]),
        ("pidfd_getfd", libc::SYS_pidfd_getfd, [0; 5]),
        ("kill", libc::SYS_kill, [c_long::from(std::process::id()), 0, 0, 0, 0]),
        ("tgkill", libc::SYS_tgkill, [1, 1, 0, 0, 0]),
        ("prctl", libc::SYS_prctl, [c_long::from(libc::PR_SET_DUMPABLE), 0, 0, 0, 0]),
        ("ioctl", libc::SYS_ioctl, [0, 0x5412, 0, 0, 0]),
        ("fcntl", libc::SYS_fcntl, [0, c_long::from(libc::F_SETOWN), 1, 0, 0]),
        ("unlinkat", libc::SYS_unlinkat, [-100, 0, 0, 0, 0]),
        ("finit_module", libc::SYS_finit_module, [0; 5]),
        ("keyctl", libc::SYS_keyctl, [0; 5]),
    ];
    in_a_fork(|| {
        if enter(&relay()).seccomp {
            for (name, number, arguments) in refused {
                assert_eq!(call(number, arguments), Err(libc::EPERM), "{name}");
            }
        }
    });
}

#[test]
fn only_internet_sockets_can_be_made() {
    const FAMILIES: [(i32, i32); 9] = [
        (libc::AF_UNIX, libc::SOCK_STREAM),
        (libc::AF_PACKET, libc::SOCK_RAW),
        (libc::AF_NETLINK, libc::SOCK_RAW),
        (libc::AF_VSOCK, libc::SOCK_STREAM),
        (libc::AF_ALG, libc::SOCK_SEQPACKET),
        (libc::AF_INET, libc::SOCK_RAW),
        (libc::AF_INET6, libc::SOCK_RAW),
        (libc::AF_INET6, libc::SOCK_SEQPACKET),
        (libc::AF_INET | 0x100, libc::SOCK_STREAM),
    ];
    in_a_fork(|| {
        if !enter(&relay()).seccomp {
            return;
        }
        for (family, kind) in FAMILIES {
            let arguments = [family.into(), kind.into(), 0, 0, 0];
            assert_eq!(call(libc::SYS_socket, arguments), Err(libc::EPERM), "{family} {kind}");
        }
        let mptcp = [libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP].map(c_long::from);
        let [family, stream, protocol] = mptcp;
        assert_eq!(call(libc::SYS_socket, [family, stream, protocol, 0, 0]), Err(libc::EPERM));
        for (family, kind) in [(2, 1), (2, 2), (10, 1), (10, 2)] {
            let flags = c_long::from(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK);
            // 10 where IPv6 is not built in: the kernel's own refusal.
            let answer = call(libc::SYS_socket, [family, kind | flags, 0, 0, 0]);
            assert!(answer.is_ok() || answer == Err(libc::EAFNOSUPPORT), "{family} {kind}");
        }
        let datagram = [libc::AF_UNIX, libc::SOCK_DGRAM].map(c_long::from);
        let answer = call(libc::SYS_socketpair, [datagram[0], datagram[1], 0, 0, 0]);
        assert_eq!(answer, Err(libc::EPERM));
        UnixStream::pair().unwrap();
    });
}

#[test]
fn the_kernel_shows_what_is_left() {
    if !is_root() {
        return;
    }
    in_a_fork(|| {
        let status = File::open("/proc/self/status").unwrap();
        let entered = enter(&relay());
        assert_eq!(entered.capabilities, KEPT);
        let lines = status_lines(&status);
        let kept = format!("{:016x}", KEPT.bits());
        let none = "0".repeat(16);
        let expected = [
            ("CapInh", none.as_str()),
            ("CapPrm", &kept),
            ("CapEff", &kept),
            ("CapBnd", &none),
            ("CapAmb", &none),
            ("NoNewPrivs", "1"),
            ("Seccomp", if entered.seccomp { "2" } else { "0" }),
        ];
        for (name, value) in expected {
            let line = format!("{name}: {value}");
            assert!(lines.contains(&line), "{line} is not in {lines:?}");
        }
    });
}

#[test]
fn a_runtime_of_threads_still_carries() {
    if !is_root() {
        return;
    }
    in_a_fork(|| {
        netns::unshare_network().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        enter(&relay());
        let client = thread::Builder::new().name("client".into()).spawn(move || {
            let mut client = TcpStream::connect(address).unwrap();
            client.set_nodelay(true).unwrap();
            client.write_all(b"through a pipe").unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            answer
        });
        let (server, _) = listener.accept().unwrap();
        server.set_nonblocking(false).unwrap();
        echo_by_splice(&server);
        drop(server);
        assert_eq!(client.unwrap().join().unwrap(), "through a pipe");

        let (a, b) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        a.connect(b.local_addr().unwrap()).unwrap();
        a.send(b"x").unwrap();
        assert_eq!(b.recv(&mut [0; 2]).unwrap(), 1);
    });
}

fn echo_by_splice(stream: &TcpStream) {
    let (from, to) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
    // As small as can be: growing is refused where other processes of this user have many pipes.
    rustix::pipe::fcntl_setpipe_size(&to, 1 << 12).unwrap();
    loop {
        let got = splice(stream, None, &to, None, 1 << 16, SpliceFlags::MOVE).unwrap();
        if got == 0 {
            break;
        }
        assert_eq!(splice(&from, None, stream, None, got, SpliceFlags::MOVE), Ok(got));
    }
}

#[test]
fn descriptors_are_passed_and_control_connections_accepted() {
    let directory = Scratch::new();
    let path = directory.join("socket");
    in_a_fork(|| {
        let listener = UnixListener::bind(&path).unwrap();
        let caller = UnixStream::connect(&path).unwrap();
        let file = File::open("/proc/self/status").unwrap();
        enter(&relay());
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(fdpass::peer_credentials(&accepted).unwrap().pid, std::process::id());
        fdpass::send_frame(&accepted, b"hello", &[file.as_fd()]).unwrap();
        let (payload, descriptors) = fdpass::recv_frame(&caller, 100).unwrap().unwrap();
        assert_eq!((payload.as_slice(), descriptors.len()), (b"hello".as_slice(), 1));
        assert!(!status_lines(&descriptors.into_iter().next().unwrap().into()).is_empty());
    });
}

#[test]
fn files_are_removed_in_one_directory_and_nowhere_else() {
    let (inside, outside) = (Scratch::new(), Scratch::new());
    let files = [inside.join("relay.sock"), inside.join("other"), outside.join("file")];
    for file in &files {
        fs::write(file, "x").unwrap();
    }
    in_a_fork(|| {
        let confinement = Confinement { unlink_in: Some(inside.0.clone()), ..relay() };
        if enter(&confinement).landlock.is_none() {
            let error = fs::remove_file(&files[0]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            return;
        }
        fs::remove_file(&files[0]).unwrap();
        for denied in [
            fs::remove_file(&files[2]),
            fs::remove_dir(&inside.0),
            fs::rename(&files[1], inside.join("new")),
            fs::remove_file("/etc/hostname"),
        ] {
            assert_eq!(denied.unwrap_err().kind(), ErrorKind::PermissionDenied);
        }
    });
    assert!(files[1].exists() && files[2].exists());
}

#[test]
fn a_second_thread_is_one_too_many() {
    // The harness has threads of its own.
    let text = relay().enter().unwrap_err().to_string();
    assert!(text.starts_with("confine the process: ") && text.contains("threads run already"));
}

#[test]
fn a_directory_that_is_missing_is_named() {
    in_a_fork(|| {
        let unlink_in = Some("/does/not/exist".into());
        let text = Confinement { unlink_in, ..relay() }.enter().unwrap_err().to_string();
        assert!(text.starts_with("open /does/not/exist: "), "{text}");
    });
}

#[test]
fn a_process_without_privileges_is_confined_too() {
    if !is_root() {
        return;
    }
    in_a_fork(|| {
        let none = rustix::thread::CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        };
        rustix::thread::set_capabilities(None, none).unwrap();
        assert_eq!(enter(&relay()).capabilities, CapabilitySet::empty());
        assert_eq!(File::open("/etc/passwd").unwrap_err().kind(), ErrorKind::PermissionDenied);
    });
}

#[test]
fn what_took_effect_reads_well() {
    let full = Entered { capabilities: KEPT, landlock: Some(7), seccomp: true };
    let text = "capabilities net_bind_service+net_raw, landlock ABI 7, seccomp filter";
    assert_eq!(full.to_string(), text);
    assert!(full.missing().is_empty());
    let bare = Entered { capabilities: CapabilitySet::empty(), landlock: None, seccomp: false };
    assert_eq!(bare.to_string(), "capabilities none, landlock none, seccomp none");
    assert_eq!(bare.missing(), ["landlock", "seccomp"]);
}

#[test]
fn refused_calls_fail_as_such() {
    in_a_fork(|| {
        if enter(&relay()).seccomp {
            let error = rustix::thread::set_no_new_privs(true).unwrap_err();
            assert_eq!(error, Errno::PERM);
        }
    });
}

/// A directory that is removed with the value.
struct Scratch(std::path::PathBuf);

// === impl Scratch ===

impl Scratch {
    fn new() -> Self {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("wharf-sandbox-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn join(&self, name: impl AsRef<Path>) -> std::path::PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}
