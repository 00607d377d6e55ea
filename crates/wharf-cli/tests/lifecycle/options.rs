//! What `run` can be told about the command and its surroundings.

use super::site::{LIMIT, Site};

#[test]
fn variables_are_given_by_value_or_taken_from_here() {
    let Some(site) = Site::new("env") else { return };
    let script = "echo $A-$HERE-${MISSING-unset}; echo $PATH; echo $HOME; echo $HOSTNAME";
    let mut command =
        site.command(&["--rm", "-e", "A=x=y", "-e", "HERE", "-e", "MISSING", "-h", "box"], script);
    command.env("HERE", "from here").env_remove("MISSING");
    let output = site.wharf.host().output(command, LIMIT).unwrap();
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(output.stdout, format!("x=y-from here-unset\n{path}\n/root\nbox\n"));
    site.refused(&["run", "-e", "=1", &site.image(), "true"], 125, "environment variable");
    // Nothing of the daemon's own environment gets in.
    let all = site.ok(&["--rm"], &["env"]);
    let mut names: Vec<&str> = all.lines().filter_map(|it| Some(it.split_once('=')?.0)).collect();
    names.sort_unstable();
    assert_eq!(names, ["HOME", "HOSTNAME", "PATH"]);
}

#[test]
fn the_working_directory_is_made_when_it_is_missing() {
    let Some(site) = Site::new("workdir") else { return };
    assert_eq!(site.ok(&["--rm"], &["pwd"]), "/");
    assert_eq!(site.ok(&["--rm", "-w", "/srv"], &["cat", "greeting"]), "hello from the image");
    assert_eq!(site.ok(&["--rm", "-w", "/made/for/this"], &["pwd"]), "/made/for/this");
}

#[test]
fn users_go_by_name_or_number() {
    let Some(site) = Site::new("user") else { return };
    let id = |user: &str| {
        let script = "echo $(id -u) $(id -g) $(id -G) $HOME; echo ok > /dev/stdout";
        site.ok(&["--rm", "-u", user], &["sh", "-c", script])
    };
    assert_eq!(id("root"), "0 0 0 /root\nok");
    assert_eq!(id("alice"), "1000 1001 1001 29 /home/alice\nok");
    assert_eq!(id("1000"), "1000 1001 1001 29 /home/alice\nok");
    assert_eq!(id("alice:audio"), "1000 29 29 /home/alice\nok");
    assert_eq!(id("4242:77"), "4242 77 77 /\nok");
    assert_eq!(id("4242"), "4242 0 0 /\nok");
    let caps = site.ok(&["--rm", "-u", "alice"], &["grep", "CapEff", "/proc/self/status"]);
    assert_eq!(caps, "CapEff:\t0000000000000000", "no root, no privileges");
}

#[test]
fn an_entrypoint_replaces_the_images_own_or_takes_it_away() {
    let Some(site) = Site::new("entrypoint") else { return };
    assert_eq!(site.ok(&["--rm", "--entrypoint", "/bin/echo"], &["one", "two"]), "one two");
    let version = format!("wharf {}", env!("CARGO_PKG_VERSION"));
    let bare = ["run", "--rm", "--entrypoint", "", "wharf/whoami", "/wharf", "--version"];
    assert_eq!(site.wharf.ok(bare), version);
    let other = ["run", "--rm", "--entrypoint", "/wharf", "wharf/whoami", "--version"];
    assert_eq!(site.wharf.ok(other), version);
    site.refused(&["run", "--entrypoint", "", "wharf/whoami"], 125, "no command specified");
}

#[test]
fn the_host_name_is_known_inside() {
    let Some(site) = Site::new("hostname") else { return };
    let script = "hostname; cat /etc/hostname; grep -w box /etc/hosts | tr '\\t' ' '";
    let said = site.ok(&["--rm", "--name", "named", "-h", "box"], &["sh", "-c", script]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(&lines[..2], ["box", "box"]);
    assert!(lines.len() > 2 && lines[2].ends_with(" box"), "{said}");
    let id = site.ok(&["-d"], &["sleep", "1000"]);
    assert_eq!(site.exec(&id, "hostname"), id[..12]);
    let hosts = site.exec(&id, "cat /etc/hosts");
    let inspected = site.wharf.inspect(&id);
    for key in ["IPAddress", "GlobalIPv6Address"] {
        let address = inspected["NetworkSettings"][key].as_str().unwrap();
        assert!(hosts.contains(address), "{address} is not in\n{hosts}");
    }
    assert!(hosts.contains("127.0.0.1\tlocalhost"), "{hosts}");
    site.exec(&id, "test -e /etc/resolv.conf");
    let long = "x".repeat(65);
    site.refused(&["run", "-h", &long, &site.image(), "true"], 125, "hostname");
}

#[test]
fn labels_are_kept() {
    let Some(site) = Site::new("labels") else { return };
    site.ok(&["-d", "--name", "box", "-l", "a=1", "--label", "b.c"], &["sleep", "1000"]);
    let wanted = serde_json::json!({"a": "1", "b.c": ""});
    assert_eq!(site.wharf.inspect("box")["Config"]["Labels"], wanted);
    assert_eq!(site.wharf.json(["ps"])[0]["labels"], wanted);
}
