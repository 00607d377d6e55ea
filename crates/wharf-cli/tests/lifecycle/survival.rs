//! Containers while the daemon is away.

use serde_json::json;

use super::site::{LIMIT, Site};

/// Everything the next daemon must be able to do with a container it did not start.
fn the_container_is_in_good_hands(site: &Site, id: &str, pid: &serde_json::Value) {
    let found = site.wharf.inspect("box");
    assert_eq!((&found["Id"], &found["State"]["Pid"]), (&json!(id), pid), "it was not restarted");
    assert_eq!(found["State"]["Status"], "running");
    assert_eq!(site.wharf.ok(["ps", "-q", "--no-trunc"]), id);
    assert_eq!(site.exec("box", "cat /proc/1/comm"), "httpd");
    assert_eq!(site.wharf.ok(["port", "box"]), "80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080");
    site.exec("box", "echo heard > /proc/1/fd/1");
    site.said("box", "heard");
}

fn answers(site: &Site) {
    for address in ["127.0.0.1:8080", "[::1]:8080"] {
        let page = site.wharf.host().http_get(address, "/greeting").unwrap();
        assert_eq!((page.status, page.text().as_str()), (200, "hello from the image\n"));
    }
}

fn listens(site: &Site) {
    let page = || site.wharf.host().http_get("127.0.0.1:8080", "/").ok();
    wharf_lab::wait::until(LIMIT, "the web server", page).unwrap();
}

fn run_box(site: &Site) -> (String, serde_json::Value) {
    let web = ["httpd", "-f", "-p", "80", "-h", "/srv"];
    let id = site.ok(&["-d", "--name", "box", "-p", "8080:80"], &web);
    listens(site);
    (id, site.wharf.inspect("box")["State"]["Pid"].clone())
}

#[test]
fn containers_and_ports_outlive_a_killed_daemon() {
    let Some(site) = Site::new("killed daemon") else { return };
    let (id, pid) = run_box(&site);
    assert_eq!(site.wharf.kill9("daemon").unwrap(), 1);
    answers(&site);
    the_container_is_in_good_hands(&site, &id, &pid);
    answers(&site);
    site.wharf.ok(["stop", "box"]);
    site.wharf.ok(["start", "box"]);
    listens(&site);
    answers(&site);
    site.wharf.ok(["rm", "-f", "box"]);
}

#[test]
fn containers_and_ports_outlive_a_daemon_that_was_told_to_stop() {
    let Some(site) = Site::new("stopped daemon") else { return };
    let (id, pid) = run_box(&site);
    assert!(site.wharf.ok(["shutdown"]).contains("1 container(s) and their ports go on"));
    assert_eq!(site.wharf.pids_of("daemon"), [] as [i32; 0]);
    answers(&site);
    assert_eq!(site.wharf.ok(["shutdown"]), "", "shutting down twice does nothing");
    assert_eq!(site.wharf.pids_of("daemon"), [] as [i32; 0]);
    the_container_is_in_good_hands(&site, &id, &pid);
    answers(&site);
    assert_eq!(site.wharf.ok(["shutdown", "--all"]), "");
    // The relay ends a moment after it has been told to.
    let over = || site.wharf.processes().is_empty().then_some(());
    wharf_lab::wait::until(LIMIT, "the end of all processes", over).unwrap();
}

#[test]
fn the_ports_of_a_shim_that_is_slow_to_answer_stay() {
    let Some(site) = Site::new("slow shim") else { return };
    let (id, pid) = run_box(&site);
    let shims = site.wharf.pids_of("shim");
    let signal = |signal| {
        for shim in &shims {
            let shim = rustix::process::Pid::from_raw(*shim).unwrap();
            rustix::process::kill_process(shim, signal).unwrap();
        }
    };
    site.wharf.kill9("daemon").unwrap();
    signal(rustix::process::Signal::STOP);
    // It waits ten seconds for the answer.
    wharf_lab::wait::until(LIMIT, "a daemon that has found its way", || {
        let listed = site.wharf.run(["ps", "-q"]).ok()?;
        listed.is_success().then_some(())
    })
    .unwrap();
    signal(rustix::process::Signal::CONT);
    answers(&site);
    the_container_is_in_good_hands(&site, &id, &pid);
    answers(&site);
    site.wharf.ok(["rm", "-f", "box"]);
}

#[test]
fn what_ended_while_no_daemon_was_there_has_its_true_code() {
    let Some(site) = Site::new("ended alone") else { return };
    let script = "while ! [ -e /data/go ]; do sleep 0.05; done; echo over; exit 21";
    let data = site.lab.directory().join("data");
    std::fs::create_dir(&data).unwrap();
    let bind = format!("{}:/data", data.display());
    site.ok(&["-d", "--name", "kept", "-p", "8080:80", "-v", &bind], &["sh", "-c", script]);
    site.ok(&["-d", "--name", "brief", "--rm", "-v", &bind], &["sh", "-c", script]);
    site.wharf.kill9("daemon").unwrap();
    std::fs::write(data.join("go"), "").unwrap();
    wharf_lab::wait::until(LIMIT, "the end of both", || {
        site.wharf.pids_of("shim").is_empty().then_some(())
    })
    .unwrap();
    site.becomes("kept", "exited");
    assert_eq!(site.wharf.inspect("kept")["State"]["ExitCode"], 21);
    assert_eq!(site.wharf.ok(["wait", "kept"]), "21");
    assert_eq!(site.wharf.ok(["logs", "kept"]), "over");
    assert_eq!(site.wharf.state("brief"), None, "--rm holds");
    assert_eq!(site.wharf.json(["ports"]), json!([]));
    assert!(!site.wharf.host().can_connect("127.0.0.1:8080"), "its port is free again");
}

#[test]
fn an_attached_run_says_so_when_the_daemon_stops_and_its_container_stays() {
    let Some(site) = Site::new("attached and alone") else { return };
    let mut run = site.spawn(&["--name", "box"], "echo ready; sleep 1000");
    run.wait_for("ready", LIMIT).unwrap();
    site.wharf.ok(["shutdown"]);
    let output = run.output(LIMIT).unwrap();
    assert_eq!(output.code(), 125, "{output:?}");
    assert!(output.stderr.contains("the daemon stops; container \"box\" goes on"), "{output:?}");
    assert_eq!(site.wharf.state("box").as_deref(), Some("running"));
}
