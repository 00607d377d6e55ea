//! `--restart`.

use std::process::Command;

use super::site::{LIMIT, Site};

/// How often `name` was started again by its policy.
fn restarts(site: &Site, name: &str) -> u64 {
    site.wharf.inspect(name)["RestartCount"].as_u64().unwrap_or(u64::MAX)
}

fn restarted(site: &Site, name: &str, times: u64) {
    wharf_lab::wait::until(LIMIT, &format!("{times} restarts of {name}"), || {
        (restarts(site, name) >= times).then_some(())
    })
    .unwrap();
}

/// A container whose program ends with `code` when `/data/go` appears, taking it away.
fn on_demand(site: &Site, name: &str, policy: &str, code: u8) -> std::path::PathBuf {
    let data = site.lab.directory().join(name);
    std::fs::create_dir(&data).unwrap();
    let bind = format!("{}:/data", data.display());
    let script = format!(
        "echo begun >> /data/log; until rm /data/go 2>/dev/null; do sleep 0.02; done; exit {code}"
    );
    let flags = ["-d", "--name", name, "--restart", policy, "-v", &bind];
    site.ok(&flags, &["sh", "-c", &script]);
    data
}

fn go(data: &std::path::Path) {
    std::fs::write(data.join("go"), "").unwrap();
}

#[test]
fn a_program_that_fails_is_started_again_so_often_as_was_asked() {
    let Some(site) = Site::new("on failure") else { return };
    site.ok(&["-d", "--name", "box", "--restart", "on-failure:2"], &["sh", "-c", "exit 7"]);
    restarted(&site, "box", 2);
    site.becomes("box", "exited");
    let found = site.wharf.inspect("box");
    assert_eq!((restarts(&site, "box"), &found["State"]["ExitCode"]), (2, &7.into()));
    assert_eq!(found["HostConfig"]["RestartPolicy"]["Name"], "on-failure");
    assert_eq!(found["HostConfig"]["RestartPolicy"]["MaximumRetryCount"], 2);
    // By hand it may try as often again.
    site.wharf.ok(["start", "box"]);
    restarted(&site, "box", 2);
    site.becomes("box", "exited");
}

#[test]
fn a_program_that_ends_well_is_started_again_only_if_always() {
    let Some(site) = Site::new("ends well") else { return };
    let data = on_demand(&site, "always", "always", 0);
    let other = on_demand(&site, "failing", "on-failure", 0);
    go(&data);
    go(&other);
    restarted(&site, "always", 1);
    site.becomes("always", "running");
    site.becomes("failing", "exited");
    assert_eq!(restarts(&site, "failing"), 0);
}

#[test]
fn a_published_port_comes_back_with_the_container() {
    let Some(site) = Site::new("port again") else { return };
    let web = ["httpd", "-f", "-p", "80", "-h", "/srv"];
    site.ok(&["-d", "--name", "web", "--restart", "always", "-p", "8080:80"], &web);
    let answers = || {
        wharf_lab::wait::until(LIMIT, "the web server", || {
            site.wharf.host().http_get("127.0.0.1:8080", "/greeting").ok()
        })
        .unwrap()
    };
    answers();
    // The first process of a namespace is safe from all others in it, so the host ends it.
    let pid = site.wharf.inspect("web")["State"]["Pid"].to_string();
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    restarted(&site, "web", 1);
    assert_eq!(answers().status, 200);
}

#[test]
fn who_is_stopped_by_hand_stays_stopped() {
    let Some(site) = Site::new("by hand") else { return };
    for verb in ["stop", "kill"] {
        site.ok(&["-d", "--name", verb, "--restart", "always"], &["sleep", "1000"]);
        site.wharf.ok([verb, verb]);
        site.becomes(verb, "exited");
    }
    // One that is between two runs, too.
    site.ok(&["-d", "--name", "flapping", "--restart", "always"], &["false"]);
    restarted(&site, "flapping", 4);
    site.wharf.ok(["stop", "flapping"]);
    let count = restarts(&site, "flapping");
    std::thread::sleep(std::time::Duration::from_secs(4));
    for name in ["stop", "kill", "flapping"] {
        assert_eq!(site.wharf.state(name).as_deref(), Some("exited"), "{name}");
    }
    assert_eq!(restarts(&site, "flapping"), count);
}

#[test]
fn one_that_is_restarting_says_so_and_is_removed_by_force_only() {
    let Some(site) = Site::new("restarting") else { return };
    site.ok(&["-d", "--name", "box", "--restart", "always"], &["sh", "-c", "exit 3"]);
    // The longer it goes on, the more of its time is pauses; in between it runs for a moment.
    let says = |line: &[&str], text: &str| {
        wharf_lab::wait::until(LIMIT, &format!("{line:?} to say {text:?}"), || {
            let output = site.wharf.run(line).ok()?;
            let said = output.stdout.contains(text) || output.stderr.contains(text);
            said.then_some(())
        })
        .unwrap();
    };
    restarted(&site, "box", 3);
    says(&["ps"], "Restarting (3) ");
    says(&["exec", "box", "true"], "is restarting");
    says(&["rm", "box"], "container is restarting: stop the container before removing");
    site.wharf.ok(["rm", "-f", "box"]);
    assert_eq!(site.wharf.ok(["ps", "-aq"]), "");
}

#[test]
fn what_ends_while_no_daemon_is_there_is_started_by_the_next() {
    let Some(site) = Site::new("restart later") else { return };
    let data = on_demand(&site, "box", "unless-stopped", 9);
    site.wharf.kill9("daemon").unwrap();
    go(&data);
    wharf_lab::wait::until(LIMIT, "the end", || {
        site.wharf.pids_of("shim").is_empty().then_some(())
    })
    .unwrap();
    restarted(&site, "box", 1);
    site.becomes("box", "running");
    let log = || std::fs::read_to_string(data.join("log")).unwrap();
    let begun = || (log() == "begun\nbegun\n").then_some(());
    wharf_lab::wait::until(LIMIT, "a second beginning", begun)
        .unwrap_or_else(|e| panic!("{e}: {}", log()));
}

/// What a reboot leaves: the state directory, and nothing that runs.
#[test]
fn a_reboot_brings_back_what_is_to_run() {
    let Some(site) = Site::new("reboot") else { return };
    for (name, policy) in [
        ("always", "always"),
        ("unless", "unless-stopped"),
        ("failing", "on-failure"),
        ("no", "no"),
    ] {
        site.ok(&["-d", "--name", name, "--restart", policy], &["sleep", "1000"]);
    }
    for (name, policy) in [("stopped-always", "always"), ("stopped", "unless-stopped")] {
        site.ok(&["-d", "--name", name, "--restart", policy], &["sleep", "1000"]);
        site.wharf.ok(["stop", "-t", "0", name]);
    }
    site.wharf.reboot().unwrap();
    for name in ["always", "unless", "failing", "stopped-always"] {
        site.becomes(name, "running");
    }
    for name in ["no", "stopped"] {
        assert_eq!(site.wharf.state(name).as_deref(), Some("exited"), "{name}");
    }
}

#[test]
fn a_start_that_fails_is_tried_again_until_it_succeeds() {
    let Some(site) = Site::new("start again") else { return };
    let data = on_demand(&site, "box", "always", 1);
    // While it is down its source is gone, which is why it cannot be started.
    let away = data.with_extension("away");
    std::fs::rename(&data, &away).unwrap();
    go(&away);
    wharf_lab::wait::until(LIMIT, "a start that failed", || {
        let found = site.wharf.inspect("box");
        found["State"]["Error"].as_str().filter(|text| text.contains("does not exist")).map(drop)
    })
    .unwrap();
    std::fs::rename(&away, &data).unwrap();
    let _gone = std::fs::remove_file(data.join("go"));
    site.becomes("box", "running");
}

#[test]
fn policies_that_cannot_be_are_refused() {
    let Some(site) = Site::new("no policy") else { return };
    let cases = [
        (&["--restart", "sometimes"][..], "invalid restart policy 'sometimes'"),
        (&["--restart", "always:3"], "maximum retry count cannot be used with"),
        (&["--restart", "on-failure:x"], "maximum retry count must be an integer"),
        (&["--restart", "always", "--rm"], "cannot specify both --restart and --rm"),
    ];
    for (flags, text) in cases {
        let mut line = vec!["run".to_owned()];
        line.extend(flags.iter().map(|flag| (*flag).to_owned()));
        line.extend([site.image(), "true".to_owned()]);
        site.refused(&line, 125, text);
    }
    assert_eq!(site.wharf.ok(["ps", "-aq"]), "");
}
