//! `--health-*`.

use serde_json::json;

use super::site::{LIMIT, Site};

const QUICK: [&str; 4] = ["--health-interval", "50ms", "--health-retries", "2"];

fn checked(site: &Site, name: &str, check: &str, more: &[&str]) {
    let mut flags = vec!["-d", "--name", name, "--health-cmd", check];
    flags.extend(more);
    site.ok(&flags, &["sleep", "1000"]);
}

fn is(site: &Site, name: &str, status: &str) {
    wharf_lab::wait::until(LIMIT, &format!("{name} to be {status}"), || {
        (site.wharf.inspect(name)["State"]["Health"]["Status"] == status).then_some(())
    })
    .unwrap();
}

#[test]
fn a_container_is_as_healthy_as_its_check_says() {
    let Some(site) = Site::new("health") else { return };
    checked(&site, "box", "echo looked; test -e /tmp/well", &QUICK);
    is(&site, "box", "unhealthy");
    assert!(site.wharf.ok(["ps"]).contains("(unhealthy)"));
    site.exec("box", "mkdir -p /tmp; touch /tmp/well");
    is(&site, "box", "healthy");
    assert!(site.wharf.ok(["ps"]).contains("(healthy)"));
    let health = &site.wharf.inspect("box")["State"]["Health"];
    assert_eq!(health["FailingStreak"], 0);
    let last = health["Log"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["ExitCode"], &last["Output"]), (&json!(0), &json!("looked\n")));
    // The next daemon finds out anew.
    site.wharf.kill9("daemon").unwrap();
    is(&site, "box", "healthy");
    site.wharf.ok(["stop", "-t", "0", "box"]);
    assert_eq!(site.wharf.inspect("box")["State"]["Health"], json!(null));
}

#[test]
fn changes_of_health_are_told() {
    let Some(site) = Site::new("health told") else { return };
    site.wharf.ok(["ps"]);
    let events = site.wharf.events().unwrap();
    checked(&site, "box", "true", &QUICK);
    is(&site, "box", "healthy");
    events.wait_for("container", "health_status: healthy", 1).unwrap();
}

#[test]
fn a_check_that_takes_too_long_has_failed_and_is_ended() {
    let Some(site) = Site::new("slow check") else { return };
    let more = [&QUICK[..], &["--health-timeout", "200ms"]].concat();
    checked(&site, "box", "exec sleep 777", &more);
    is(&site, "box", "unhealthy");
    let health = &site.wharf.inspect("box")["State"]["Health"];
    let last = health["Log"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["ExitCode"], -1);
    assert!(last["Output"].as_str().unwrap().contains("exceeded timeout"), "{last}");
    let left = site.exec("box", "ps | grep -c '[s]leep 777' || true");
    assert!(left.trim().parse::<u32>().unwrap() <= 1, "checks pile up: {left}");
}

#[test]
fn what_is_paused_is_as_healthy_as_it_was() {
    let Some(site) = Site::new("paused health") else { return };
    let more = [&QUICK[..], &["--health-timeout", "2s"]].concat();
    checked(&site, "box", "sleep 0.05", &more);
    is(&site, "box", "healthy");
    site.wharf.ok(["pause", "box"]);
    // Longer than a check may take.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let asleep = site.wharf.inspect("box")["State"]["Health"].clone();
    assert_eq!((&asleep["Status"], &asleep["FailingStreak"]), (&json!("healthy"), &json!(0)));
    site.wharf.ok(["unpause", "box"]);
    wharf_lab::wait::until(LIMIT, "another check", || {
        (site.wharf.inspect("box")["State"]["Health"]["Log"] != asleep["Log"]).then_some(())
    })
    .unwrap();
    let awake = site.wharf.inspect("box")["State"]["Health"].clone();
    assert!(awake["Log"].as_array().unwrap().iter().all(|it| it["ExitCode"] == 0), "{awake}");
}

#[test]
fn a_start_has_its_time() {
    let Some(site) = Site::new("start period") else { return };
    let more = [&QUICK[..], &["--health-start-period", "1h", "--health-start-interval", "50ms"]];
    checked(&site, "box", "false", &more.concat());
    wharf_lab::wait::until(LIMIT, "some checks", || {
        let found = site.wharf.inspect("box");
        (found["State"]["Health"]["Log"].as_array()?.len() >= 4).then_some(())
    })
    .unwrap();
    let health = &site.wharf.inspect("box")["State"]["Health"];
    assert_eq!((&health["Status"], &health["FailingStreak"]), (&json!("starting"), &json!(0)));
    assert!(site.wharf.ok(["ps"]).contains("(health: starting)"));
}

#[test]
fn checks_that_cannot_be_are_refused() {
    let Some(site) = Site::new("no check") else { return };
    let cases = [
        (
            &["--no-healthcheck", "--health-retries", "3"][..],
            125,
            "--no-healthcheck conflicts with",
        ),
        (&["--no-healthcheck", "--health-cmd", "true"], 2, "cannot be used with"),
        (&["--health-cmd", ""], 125, "--health-cmd is empty"),
        (&["--health-interval", "5"], 2, "use a number and a unit"),
    ];
    for (flags, code, text) in cases {
        let mut line = vec!["run".to_owned()];
        line.extend(flags.iter().map(|flag| (*flag).to_owned()));
        line.extend([site.image(), "true".to_owned()]);
        site.refused(&line, code, text);
    }
}
