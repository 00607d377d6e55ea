//! From launch to exit: order of things, output, signals, adoption, many at once.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use wharf_host::netns::Netns;
use wharf_host::process::Signal;
use wharf_runtime::client::Shim;
use wharf_runtime::exit::exit_status;
use wharf_runtime::image::ImageStore;
use wharf_runtime::log::Stream;
use wharf_runtime::shim::Phase;

use crate::support::{
    Fixture, LIMIT, PROGRAM, can_run, ended, has_busybox, processes_with, wait_for,
};

fn get(shim: &Shim, path: &str) -> String {
    let netns = Netns::of_process(shim.pid().pid).unwrap();
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
    netns
        .run(|| {
            let mut answer = String::new();
            wait_for("a connection", || {
                assert!(shim.is_alive(), "the container has ended");
                TcpStream::connect("127.0.0.1:80").is_ok()
            });
            let mut stream = TcpStream::connect("127.0.0.1:80").unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            stream.read_to_string(&mut answer).unwrap();
            answer
        })
        .unwrap()
}

fn whoami() -> Fixture {
    let mut fixture = Fixture::new(Vec::new(), &[]);
    // The image gets the libraries this process has loaded; the program has libm, too.
    std::hint::black_box(std::hint::black_box(1.0_f64).sin());
    let store = ImageStore::open(&fixture.dir.path().join("images")).unwrap().with_program(PROGRAM);
    let image = store.resolve("wharf/whoami").unwrap();
    fixture.spec.layers = image.layers;
    fixture.spec.args = image.config.entrypoint;
    fixture
}

#[test]
fn whoami_runs_answers_in_its_own_network_and_ends_when_asked() {
    if !can_run() {
        return;
    }
    let mut fixture = whoami();
    let start = Instant::now();
    let shim = fixture.launch();
    assert_eq!(shim.state().unwrap().phase, Phase::Ready);
    let launched = start.elapsed();
    assert_eq!(shim.create().unwrap().phase, Phase::Created);
    let state = shim.start().unwrap();
    let running = start.elapsed();
    eprintln!("launched in {launched:?}, running after {running:?}");
    assert!(running < Duration::from_secs(5));
    assert!(state.phase == Phase::Running && state.pid.is_some() && state.started_at.is_some());

    let answer = get(&shim, "/api");
    assert!(answer.contains(r#""hostname":"box""#), "{answer}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", shim.pid().pid)).unwrap();
    let resident = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
    let threads = status.lines().find(|l| l.starts_with("Threads")).unwrap();
    eprintln!("the shim's {resident}");
    assert!(threads.ends_with("\t1"), "{threads}");

    shim.kill(Signal::TERM).unwrap();
    assert_eq!(ended(&shim).code, 0);
    assert_eq!(fixture.output(), "Starting up on port 80\n");
    fixture.nothing_left();
}

#[test]
fn whoami_runs_as_another_user_and_restarts_in_the_same_place() {
    if !can_run() {
        return;
    }
    let mut fixture = whoami();
    fixture.spec.user = "nobody".to_owned();
    for _ in 0..3 {
        let shim = fixture.start();
        // Port 80 without a capability: the sysctl is the container's own.
        assert!(get(&shim, "/health").contains("200 OK"));
        shim.kill(Signal::KILL).unwrap();
        assert_eq!(ended(&shim).code, 137);
        fixture.nothing_left();
    }
}

#[test]
fn output_and_exit_code_are_kept() {
    if !has_busybox() {
        return;
    }
    let mut fixture = Fixture::busybox("echo out; echo err >&2; printf unfinished; exit 42");
    assert_eq!(fixture.run().0, 42);
    assert_eq!(fixture.stream(Stream::Stdout), "out\nunfinished");
    assert_eq!(fixture.stream(Stream::Stderr), "err\n");
    let exit = exit_status(&fixture.run_dir()).unwrap().unwrap();
    assert_eq!(exit.code, 42);
    fixture.nothing_left();
}

#[test]
fn nothing_of_a_large_output_is_lost() {
    if !has_busybox() {
        return;
    }
    let mut fixture = Fixture::busybox("seq 1 50000; head -c 100000 /dev/zero; exit 0");
    let (code, output) = fixture.run();
    let want: String = (1..=50_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(code, 0);
    assert!(output.starts_with(&want));
    assert_eq!(output.len(), want.len() + 100_000);
    fixture.nothing_left();
}

#[test]
fn the_command_is_the_first_process_and_sees_only_its_own() {
    if !has_busybox() {
        return;
    }
    let mut fixture = Fixture::busybox(
        "echo $$; set -- /proc/[0-9]*; echo $#; hostname; pwd; readlink /proc/self/ns/net",
    );
    fixture.spec.workdir = "/made/on/demand".to_owned();
    let shim = fixture.launch();
    let netns = std::fs::read_link(format!("/proc/{}/ns/net", shim.pid().pid)).unwrap();
    shim.create().unwrap();
    shim.start().unwrap();
    assert_eq!(ended(&shim).code, 0);
    let output = fixture.output();
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(lines, ["1", "1", "box", "/made/on/demand", netns.to_str().unwrap()]);
    assert_ne!(netns, std::fs::read_link("/proc/self/ns/net").unwrap());
    fixture.nothing_left();
}

#[test]
fn a_signal_ends_a_container_with_128_and_its_number() {
    if !has_busybox() {
        return;
    }
    let script = "trap 'exit 7' USR1; echo ready; while :; do sleep 0.05; done";
    let mut fixture = Fixture::busybox(script);
    let shim = fixture.start();
    // It is deaf to the signal until it has set its trap.
    fixture.has_said("ready");
    assert!(shim.wait_exit(Duration::from_millis(100)).unwrap().is_none());
    // As in Docker, the first process is deaf to what it has no handler for.
    shim.kill(Signal::TERM).unwrap();
    assert!(shim.wait_exit(Duration::from_millis(200)).unwrap().is_none());
    shim.kill(Signal::USR1).unwrap();
    assert_eq!(ended(&shim).code, 7);
    fixture.nothing_left();

    let mut fixture = Fixture::busybox("sleep 1000");
    let shim = fixture.start();
    shim.kill(Signal::KILL).unwrap();
    assert_eq!(ended(&shim).code, 137);
    fixture.nothing_left();
}

#[test]
fn a_shim_asked_to_end_passes_the_images_stop_signal_on() {
    if !has_busybox() {
        return;
    }
    let script = "trap 'exit 9' USR2; echo ready; while :; do sleep 0.05; done";
    let mut fixture = Fixture::busybox(script);
    fixture.spec.stop_signal = Some("SIGUSR2".to_owned());
    let shim = fixture.start();
    fixture.has_said("ready");
    shim.pid().signal(Signal::TERM).unwrap();
    assert_eq!(ended(&shim).code, 9);
    fixture.nothing_left();
}

#[test]
fn a_later_daemon_finds_the_shim_again() {
    if !has_busybox() {
        return;
    }
    let script = "trap 'exit 3' USR1; echo ready; while :; do sleep 0.05; done";
    let mut fixture = Fixture::busybox(script);
    assert!(Shim::adopt(&fixture.run_dir()).unwrap().is_none());
    let first = fixture.start();
    let shim = Shim::adopt(&fixture.run_dir()).unwrap().unwrap();
    assert_eq!(shim.pid(), first.pid());
    assert_eq!(shim.state().unwrap().phase, Phase::Running);
    fixture.has_said("ready");
    shim.kill(Signal::USR1).unwrap();
    assert_eq!(ended(&shim).code, 3);
    assert!(Shim::adopt(&fixture.run_dir()).unwrap().is_none());
    assert_eq!(exit_status(&fixture.run_dir()).unwrap().unwrap().code, 3);
    fixture.nothing_left();
}

#[test]
fn a_container_that_was_never_started_can_be_undone() {
    if !has_busybox() {
        return;
    }
    for created in [false, true] {
        for by_signal in [false, true] {
            let mut fixture = Fixture::busybox("echo never");
            let shim = fixture.launch();
            if created {
                shim.create().unwrap();
            }
            if by_signal {
                shim.pid().signal(Signal::TERM).unwrap();
                assert!(shim.pid().wait_exit(LIMIT).unwrap());
            } else {
                shim.delete().unwrap();
            }
            assert!(exit_status(&fixture.run_dir()).unwrap().is_none());
            fixture.nothing_left();
        }
    }
}

#[test]
fn requests_out_of_order_are_refused() {
    if !has_busybox() {
        return;
    }
    let mut fixture = Fixture::busybox("sleep 1000");
    let shim = fixture.launch();
    let text = |result: wharf_runtime::Result<_>| result.unwrap_err().to_string();
    assert_eq!(text(shim.start()), "start the container: it is ready");
    assert_eq!(
        text(shim.kill(Signal::TERM).map(|()| shim.state().unwrap())),
        "signal the container: it is ready"
    );
    shim.create().unwrap();
    assert_eq!(text(shim.create()), "create the container: it is created");
    shim.start().unwrap();
    assert_eq!(text(shim.start()), "start the container: it is running");
    assert_eq!(
        text(shim.delete().map(|()| shim.state().unwrap())),
        "undo the container: it is running"
    );
}

#[test]
fn garbage_on_the_socket_does_not_disturb_a_shim() {
    if !has_busybox() {
        return;
    }
    let mut fixture = Fixture::busybox("sleep 1000");
    let shim = fixture.start();
    let socket = fixture.run_dir().join("shim.sock");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&socket).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    for bytes in [&b"what\n"[..], &[0; 100_000], b"{\"do\":\"fly\"}\n", b"{\"do\":\"state\"}"] {
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        let _closed_early = stream.write_all(bytes);
    }
    let idle: Vec<_> = (0..100).map(|_| std::os::unix::net::UnixStream::connect(&socket)).collect();
    drop(idle);
    wait_for("an answer", || shim.state().is_ok_and(|state| state.phase == Phase::Running));
}

#[test]
fn twenty_containers_at_once_and_none_is_in_the_others_way() {
    if !can_run() {
        return;
    }
    let fixtures: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..20)
            .map(|_| {
                scope.spawn(|| {
                    let mut fixture = whoami();
                    let shim = fixture.start();
                    assert!(get(&shim, "/health").contains("200 OK"));
                    shim.kill(Signal::TERM).unwrap();
                    assert_eq!(ended(&shim).code, 0);
                    fixture
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for fixture in &fixtures {
        fixture.nothing_left();
    }
}

#[test]
fn a_killed_shim_takes_its_container_along_and_the_rest_can_be_cleaned() {
    if !has_busybox() {
        return;
    }
    let mut fixture = Fixture::busybox("(sleep 4321 &); sleep 4321 & wait");
    let shim = fixture.start();
    wait_for("the sleepers", || processes_with("sleep 4321").len() >= 2);
    shim.pid().signal(Signal::KILL).unwrap();
    assert!(shim.pid().wait_exit(LIMIT).unwrap());
    assert!(
        shim.wait_exit(LIMIT).unwrap_err().to_string().contains("without leaving an exit code")
    );
    assert!(Shim::adopt(&fixture.run_dir()).unwrap().is_none());
    for _ in 0..2 {
        wharf_runtime::cgroup::kill_leftovers(&fixture.spec.cgroup).unwrap();
    }
    assert_eq!(processes_with("sleep 4321"), Vec::<String>::new());
    fixture.nothing_left();
    // The same directories serve again.
    fixture.spec.args = vec!["echo".to_owned(), "again".to_owned()];
    assert_eq!(fixture.run(), (0, "again\n".to_owned()));
    fixture.nothing_left();
}

#[test]
fn what_escapes_to_the_background_ends_with_the_container() {
    if !has_busybox() {
        return;
    }
    let mut fixture = Fixture::busybox("(sleep 5432 >/dev/null 2>&1 &); exit 0");
    assert_eq!(fixture.run().0, 0);
    assert_eq!(processes_with("sleep 5432"), Vec::<String>::new());
    fixture.nothing_left();
}

#[test]
fn a_program_that_is_no_shim_is_reported() {
    if !can_run() {
        return;
    }
    let fixture = Fixture::new(Vec::new(), &["x"]);
    for program in ["/bin/false", "/no/such"] {
        let result = Shim::launch(Path::new(program), &fixture.run_dir(), &fixture.spec);
        let error = result.unwrap_err().to_string();
        assert!(error.contains("start"), "{error}");
    }
}
