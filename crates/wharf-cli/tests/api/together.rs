//! Fifty at once, from a cold start.

use std::collections::BTreeSet;

use super::site::Site;

const COUNT: usize = 50;

#[test]
fn fifty_runs_at_once_from_a_cold_start_all_succeed() {
    let Some(site) = Site::new("fifty") else { return };
    let before = site.wharf.snapshot().unwrap().without("run directory");
    let running: Vec<_> = (0..COUNT)
        .map(|number| {
            let (name, port) = (format!("c{number}"), format!("{}:80", 10_000 + number));
            let args = [
                "run",
                "-d",
                "--name",
                &name,
                "-p",
                &port,
                "-p",
                "7",
                site.image(),
                "sleep",
                "1000",
            ];
            site.wharf.spawn(args).unwrap()
        })
        .collect();
    let outputs: Vec<_> = running
        .into_iter()
        .map(|it| it.output(std::time::Duration::from_secs(60)).unwrap())
        .collect();
    for output in &outputs {
        assert!(output.is_success() && !output.pipes_held, "{output:?}");
    }
    let ids: BTreeSet<_> = outputs.iter().map(|it| it.stdout.trim().to_owned()).collect();
    assert_eq!(ids.len(), COUNT);
    assert_eq!(site.wharf.pids_of("daemon").len(), 1, "one daemon");
    assert_eq!(site.wharf.pids_of("relay").len(), 1, "one relay");

    let names: Vec<String> = (0..COUNT).map(|number| format!("c{number}")).collect();
    let mut line = vec!["inspect".to_owned()];
    line.extend(names.clone());
    let inspected: serde_json::Value = serde_json::from_str(&site.wharf.ok(&line)).unwrap();
    let inspected = inspected.as_array().unwrap();
    assert!(inspected.iter().all(|it| it["State"]["Running"] == true));
    for key in ["IPAddress", "GlobalIPv6Address", "MacAddress"] {
        let all: BTreeSet<&str> =
            inspected.iter().map(|it| it["NetworkSettings"][key].as_str().unwrap()).collect();
        assert_eq!(all.len(), COUNT, "{key}: {all:?}");
        assert!(!all.contains(""), "{key}");
    }
    let ports =
        |it: &serde_json::Value| it["NetworkSettings"]["Ports"]["7/tcp"][0]["HostPort"].clone();
    let chosen: BTreeSet<String> = inspected.iter().map(|it| ports(it).to_string()).collect();
    assert_eq!(chosen.len(), COUNT, "ports chosen for them");
    assert_eq!(site.wharf.json(["ports"]).as_array().unwrap().len(), 2 * COUNT);

    let removing: Vec<_> =
        names.iter().map(|name| site.wharf.spawn(["rm", "-f", name]).unwrap()).collect();
    for (name, removal) in names.iter().zip(removing) {
        let output = removal.output(std::time::Duration::from_secs(60)).unwrap();
        assert_eq!((output.code(), output.stdout.trim()), (0, name.as_str()), "{output:?}");
    }
    assert_eq!(site.wharf.ok(["ps", "-aq"]), "");
    site.wharf.ok(["shutdown"]);
    site.wharf.settles_to(&before, super::site::LIMIT).unwrap();
}

#[test]
fn of_many_that_want_one_name_or_one_port_exactly_one_gets_it() {
    let Some(site) = Site::new("contest") else { return };
    let contest = |flags: &[&str]| {
        let args = [&["run", "-d"], flags, &[site.image(), "sleep", "1000"]].concat();
        let running: Vec<_> = (0..8).map(|_| site.wharf.spawn(&args).unwrap()).collect();
        let outputs: Vec<_> =
            running.into_iter().map(|it| it.output(super::site::LIMIT).unwrap()).collect();
        let (won, lost): (Vec<_>, Vec<_>) = outputs.into_iter().partition(|it| it.is_success());
        assert_eq!(won.len(), 1, "{won:?} {lost:?}");
        assert!(lost.iter().all(|it| it.code() == 125), "{lost:?}");
        lost.into_iter().map(|it| it.stderr).collect::<Vec<_>>()
    };
    for text in contest(&["--name", "same"]) {
        assert!(text.contains("is already in use"), "{text}");
    }
    for text in contest(&["--rm", "-p", "8080:80"]) {
        assert!(text.contains("port is already allocated"), "{text}");
    }
    site.wharf.ok(["network", "create", "--subnet", "10.77.0.0/24", "side"]);
    for text in contest(&["--rm", "--network", "side", "--ip", "10.77.0.9"]) {
        assert!(text.contains("10.77.0.9"), "{text}");
    }
}

#[test]
fn verbs_that_meet_at_one_container_leave_it_whole() {
    let Some(site) = Site::new("meeting") else { return };
    for _ in 0..3 {
        site.run("web");
        let verbs: [&[&str]; 6] = [
            &["stop", "-t", "0", "web"],
            &["kill", "web"],
            &["start", "web"],
            &["restart", "-t", "0", "web"],
            &["rm", "-f", "web"],
            &["rm", "-f", "web"],
        ];
        let running: Vec<_> = verbs.iter().map(|it| site.wharf.spawn(*it).unwrap()).collect();
        for process in running {
            let output = process.output(super::site::LIMIT).unwrap();
            assert!(output.code() <= 1, "{output:?}");
        }
        site.wharf.ok(["rm", "-f", "web"]);
        assert_eq!(site.wharf.ok(["ps", "-aq"]), "");
        assert_eq!(site.wharf.pids_of("shim"), [] as [i32; 0]);
        assert!(!site.host.can_connect("127.0.0.1:8080"));
    }
}
