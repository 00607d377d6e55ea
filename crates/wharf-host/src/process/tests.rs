use super::*;

fn output(start: Detached) -> (u32, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    let pid = spawn_detached(Detached { stdout: writer.into(), ..start }).unwrap();
    let mut text = String::new();
    std::io::BufReader::new(reader).read_to_string(&mut text).unwrap();
    (pid, text)
}

#[test]
fn a_detached_process_leads_nothing_of_ours() {
    let script = "echo $$ $PPID $0 $GREETING; pwd; umask; ls /proc/self/fd | wc -l; \
                  cut -d' ' -f6 /proc/$$/stat";
    let mut start = Detached::new("/bin/sh", ["-c", script, "name"]);
    start.env.push(("GREETING".into(), "hello".into()));
    let (pid, text) = output(start);
    let lines: Vec<&str> = text.lines().collect();
    let first: Vec<&str> = lines[0].split(' ').collect();
    assert_eq!(first[0], pid.to_string());
    assert_ne!(first[1], std::process::id().to_string());
    assert_eq!(first[2..], ["name", "hello"]);
    assert_eq!(lines[1..3], ["/", "0022"]);
    // Three streams and the directory being listed.
    assert_eq!(lines[3].trim(), "4");
    // Read as text: 0 where the session is led from outside our process namespace.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit(") ").next().unwrap();
    assert_ne!(Some(lines[4]), after_name.split(' ').nth(3));
}

#[test]
fn a_program_that_is_not_there_is_an_error() {
    let error = spawn_detached(Detached::new("/does/not/exist", [""; 0])).unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert!(error.to_string().starts_with("start /does/not/exist: "), "{error}");
}

#[test]
fn a_process_is_watched_signalled_and_gone() {
    let number = spawn_detached(Detached::new("/bin/sleep", ["60"])).unwrap();
    let process = Pid::of(number).unwrap();
    assert!(process.is_alive());
    assert!(!process.wait_exit(Duration::from_millis(10)).unwrap());
    let text = serde_json::to_string(&process).unwrap();
    assert_eq!(serde_json::from_str::<Pid>(&text).unwrap(), process);
    process.signal(Signal::TERM).unwrap();
    assert!(process.wait_exit(Duration::from_secs(5)).unwrap());
    assert!(!process.is_alive());
}

#[test]
fn the_limit_of_open_files_is_known_of_any_process() {
    let own = rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    assert_eq!(descriptor_limit_of(std::process::id()).unwrap(), Some(own));
    // Linux numbers processes up to 4,194,304.
    assert_eq!(descriptor_limit_of(5_000_000).unwrap(), None);
    assert_eq!(allow_descriptors(own), own);
}

#[test]
fn a_recycled_number_is_nobody() {
    let me = Pid::current().unwrap();
    let earlier = Pid { start_time: me.start_time - 1, ..me };
    assert!(me.is_alive());
    assert!(!earlier.is_alive());
    assert!(earlier.signal(Signal::KILL).unwrap_err().is_not_found());
    assert!(earlier.wait_exit(Duration::from_secs(1)).unwrap());
}

#[test]
fn names_with_parentheses_do_not_confuse() {
    let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
    assert_eq!(parse_stat(stat), Some(('S', 4711)));
    assert_eq!(parse_stat("7 (a"), None);
}

#[test]
fn our_own_executable_is_found() {
    assert_eq!(current_exe(), std::env::current_exe().unwrap());
    assert_eq!(Pid::current().unwrap().executable().unwrap(), current_exe());
}
