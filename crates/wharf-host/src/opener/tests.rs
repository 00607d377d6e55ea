use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;

use rustix::fs::OFlags;
use rustix::io::FdFlags;
use rustix::net::SocketAddrAny;

use super::*;
use crate::netns::Netns;
use crate::process::{Pid, current_exe};
use crate::sandbox::single::in_a_fork;
use crate::sandbox::{CapabilitySet, Confinement, Profile};

const HELPER: [&str; 3] = ["--exact", "opener::tests::the_helper", "--ignored"];
const LIMIT: Duration = Duration::from_secs(5);

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: making network namespaces needs root");
    }
    root
}

fn start() -> Opener {
    Opener::start(current_exe(), HELPER).unwrap()
}

/// An opener whose helper is this test.
fn pair() -> (Opener, OwnedFd) {
    let kind = SocketType::SEQPACKET;
    let (a, b) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
    (Opener::over(a), b)
}

fn connect(socket: OwnedFd, address: &str) -> OwnedFd {
    let address: std::net::SocketAddr = address.parse().unwrap();
    rustix::io::ioctl_fionbio(&socket, false).unwrap();
    rustix::net::connect(&socket, &SocketAddrAny::from(address)).unwrap();
    socket
}

#[test]
#[ignore = "not a test: the program that the others start"]
fn the_helper() {
    in_a_fork(|| serve(std::io::stdin()).unwrap());
}

#[test]
fn a_listener_on_loopback_of_another_namespace_is_reached() {
    if !is_root() {
        return;
    }
    let (namespace, opener) = (Netns::create().unwrap(), start());
    for (domain, address) in [(Domain::Ipv4, "127.0.0.1:80"), (Domain::Ipv6, "[::1]:80")] {
        let listener = namespace.run(|| TcpListener::bind(address).unwrap()).unwrap();
        let echo = namespace.run(|| UdpSocket::bind(address).unwrap()).unwrap();

        let socket = opener.open(namespace.as_fd(), domain, Kind::Stream).unwrap();
        assert!(rustix::fs::fcntl_getfl(&socket).unwrap().contains(OFlags::NONBLOCK));
        assert!(rustix::io::fcntl_getfd(&socket).unwrap().contains(FdFlags::CLOEXEC));
        let mut client = TcpStream::from(connect(socket, address));
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(b"from inside").unwrap();
        drop(server);
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "from inside");

        let socket = opener.open(namespace.as_fd(), domain, Kind::Datagram).unwrap();
        let client = UdpSocket::from(connect(socket, address));
        client.send(b"datagram").unwrap();
        assert_eq!(echo.recv(&mut [0; 20]).unwrap(), 8);
    }
    let helper = Pid::of(opener.pid().unwrap()).unwrap();
    drop(opener);
    assert!(helper.wait_exit(LIMIT).unwrap());
}

#[test]
fn a_confined_process_may_ask() {
    if !is_root() {
        return;
    }
    let namespace = Netns::create().unwrap();
    let listener = namespace.run(|| TcpListener::bind("127.0.0.1:80").unwrap()).unwrap();
    in_a_fork(|| {
        let opener = start();
        let capabilities = CapabilitySet::NET_RAW;
        let syscalls = Profile::Relay;
        Confinement { capabilities, unlink_in: None, syscalls }.enter().unwrap();
        assert!(namespace.run(|| ()).is_err());
        let socket = opener.open(namespace.as_fd(), Domain::Ipv4, Kind::Stream).unwrap();
        connect(socket, "127.0.0.1:80");
        listener.accept().unwrap();
    });
}

#[test]
fn threads_get_what_they_asked_for() {
    if !is_root() {
        return;
    }
    let opener = start();
    let serve = |name: &'static [u8]| {
        let namespace = Netns::create().unwrap();
        let listener = namespace.run(|| TcpListener::bind("127.0.0.1:80").unwrap()).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().take(100) {
                stream.unwrap().write_all(name).unwrap();
            }
        });
        (namespace, name)
    };
    let served = [serve(b"first"), serve(b"second")];
    thread::scope(|scope| {
        for (namespace, name) in served.iter().cycle().take(8) {
            let opener = &opener;
            scope.spawn(move || {
                for _ in 0..25 {
                    let socket = opener.open(namespace.as_fd(), Domain::Ipv4, Kind::Stream);
                    let mut stream = TcpStream::from(connect(socket.unwrap(), "127.0.0.1:80"));
                    let mut text = Vec::new();
                    stream.read_to_end(&mut text).unwrap();
                    assert_eq!(&text, name);
                }
            });
        }
    });
}

#[test]
fn the_kernels_refusals_are_passed_on() {
    if !is_root() {
        return;
    }
    let (namespace, opener) = (Netns::create().unwrap(), start());
    for path in ["/dev/null", "/proc/self/ns/mnt"] {
        let wrong = File::open(path).unwrap();
        let error = opener.open(wrong.as_fd(), Domain::Ipv4, Kind::Stream).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{path}: {error}");
    }
    opener.open(namespace.as_fd(), Domain::Ipv4, Kind::Stream).unwrap();
}

#[test]
fn a_helper_that_is_gone_is_noticed_at_once() {
    let (opener, helper) = pair();
    let file = File::open("/dev/null").unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut fds = [PollFd::new(&helper, PollFlags::IN)];
            poll(&mut fds, None).unwrap();
            drop(helper);
        });
        for _ in 0..2 {
            let error = opener.open(file.as_fd(), Domain::Ipv4, Kind::Stream).unwrap_err();
            // Not after the limit.
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        }
    });
}

#[test]
fn a_program_that_does_not_serve_is_an_error() {
    let missing = Opener::start("/does/not/exist", [""; 0]).unwrap_err();
    assert!(missing.is_not_found(), "{missing}");
    let text = Opener::start("/bin/true", [""; 0]).unwrap_err().to_string();
    assert!(text.starts_with("start the helper that opens sockets: "), "{text}");
}

#[test]
fn a_silent_helper_is_waited_for_once_and_its_late_answer_goes_to_nobody() {
    let (opener, helper) = pair();
    let file = File::open("/dev/null").unwrap();
    let ask = || opener.open(file.as_fd(), Domain::Ipv4, Kind::Stream).unwrap_err();
    let begin = Instant::now();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert_eq!(ask().kind(), io::ErrorKind::TimedOut));
        }
    });
    let passed = begin.elapsed();
    assert!(passed >= OPEN_LIMIT, "{passed:?}");
    let begin = Instant::now();
    for _ in 0..100 {
        assert_eq!(ask().kind(), io::ErrorKind::TimedOut);
    }
    // Each would have taken that long.
    assert!(begin.elapsed() < 10 * OPEN_LIMIT, "{:?}", begin.elapsed());
    assert!(opener.is_alive());
    // One request was made, and its late answer is the sign of life.
    let receive = || wire::receive::<{ wire::REQUEST }>(helper.as_fd());
    let asked = receive().unwrap().unwrap().number();
    assert_eq!(receive().unwrap_err(), Errno::AGAIN);
    let answer = |number: u32, errno| {
        let answer = wire::Answer { number, errno };
        wire::send(helper.as_fd(), &answer.to_bytes(), None).unwrap();
    };
    answer(asked, 1);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut fds = [PollFd::new(&helper, PollFlags::IN)];
            poll(&mut fds, None).unwrap();
            let next = receive().unwrap().unwrap().number();
            assert_ne!(next, asked);
            for (number, errno) in [(wire::READY, 2), (next.wrapping_add(9), 3), (next, 4)] {
                answer(number, errno);
            }
        });
        assert_eq!(ask().raw_os_error(), Some(4));
    });
    drop(helper);
    assert!(!opener.is_alive());
    assert_eq!(ask().kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn requests_that_make_no_sense_are_answered_and_forgotten() {
    if !is_root() {
        return;
    }
    in_a_fork(|| {
        let (namespace, home) = (Netns::create().unwrap(), Netns::current().unwrap());
        let (opener, helper) = pair();
        let (ours, null) = (opener.socket.as_fd(), File::open("/dev/null").unwrap());
        let good = wire::Request { number: 7, domain: Domain::Ipv6, kind: Kind::Datagram };
        let good = good.to_bytes();
        wire::send(ours, b"x", None).unwrap();
        wire::send(ours, &good, None).unwrap();
        wire::send(ours, &[7, 0, 0, 0, 5, b's'], Some(namespace.as_fd())).unwrap();
        wire::send(ours, &[7, 0, 0, 0, 4, b'r'], Some(namespace.as_fd())).unwrap();
        wire::send(ours, &[good.as_slice(), b"tail"].concat(), Some(namespace.as_fd())).unwrap();
        wire::send(ours, &good, Some(null.as_fd())).unwrap();
        wire::send(ours, &good, Some(namespace.as_fd())).unwrap();
        rustix::net::shutdown(ours, rustix::net::Shutdown::Write).unwrap();
        super::serve::answer_all(helper.as_fd(), &home).unwrap();

        let mut errnos = Vec::new();
        for _ in 0..8 {
            let message = wire::receive::<{ wire::ANSWER }>(ours).unwrap().unwrap();
            let answer = wire::Answer::from_bytes(message.payload().unwrap());
            assert_eq!(message.descriptor.is_some(), errnos.len() == 7);
            errnos.push(answer.errno);
        }
        let invalid = libc::EINVAL;
        assert_eq!(errnos, [0, invalid, invalid, invalid, invalid, invalid, invalid, 0]);
        // It is back, so it keeps no namespace alive.
        let here = Netns::current().unwrap().identity().unwrap();
        assert_eq!(here, home.identity().unwrap());
    });
}

#[test]
fn the_helper_can_do_nothing_else() {
    if !is_root() {
        return;
    }
    in_a_fork(|| {
        let namespace = Netns::create().unwrap();
        let capabilities = CapabilitySet::SYS_ADMIN;
        let helper = Confinement { capabilities, unlink_in: None, syscalls: Profile::Opener };
        let entered = helper.enter().unwrap();
        assert_eq!(entered.capabilities, capabilities);
        assert!(File::open("/etc/passwd").is_err());
        if !entered.seccomp {
            return;
        }
        let refused = |result: io::Result<()>| {
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        };
        refused(thread::Builder::new().spawn(|| ()).map(drop));
        refused(std::process::Command::new("/bin/true").spawn().map(drop));
        refused(UdpSocket::bind("127.0.0.1:0").map(drop));
        refused(std::os::unix::net::UnixStream::pair().map(drop));
        let any = rustix::thread::move_into_link_name_space(namespace.as_fd(), None);
        assert_eq!(any, Err(Errno::PERM));
    });
}

#[test]
fn requests_and_answers_survive_the_wire() {
    for domain in [Domain::Ipv4, Domain::Ipv6] {
        for kind in [Kind::Stream, Kind::Datagram] {
            let request = wire::Request { number: u32::MAX - 1, domain, kind };
            assert_eq!(wire::Request::from_bytes(request.to_bytes()), Some(request));
        }
    }
    let answer = wire::Answer { number: 3, errno: libc::EPERM };
    assert_eq!(wire::Answer::from_bytes(answer.to_bytes()), answer);
}

#[test]
fn no_request_has_the_number_of_the_announcement() {
    let turns = turn::Turns::new();
    let deadline = Instant::now() + LIMIT;
    let first = turns.take(deadline).unwrap();
    assert_ne!(first.number(), wire::READY);
    assert!(turns.take(Instant::now()).is_none());
    drop(first);
    assert!(turns.take(deadline).is_some());
}
