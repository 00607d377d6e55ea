//! Completions, man pages, and words that mean nothing but themselves.

use super::site::Site;

const VERBS: [&str; 33] = [
    "run",
    "create",
    "start",
    "stop",
    "kill",
    "restart",
    "rm",
    "ps",
    "logs",
    "exec",
    "inspect",
    "wait",
    "port",
    "ports",
    "publish",
    "unpublish",
    "events",
    "images",
    "load",
    "rmi",
    "image",
    "pull",
    "tag",
    "history",
    "save",
    "import",
    "login",
    "logout",
    "network",
    "daemon",
    "relay",
    "shutdown",
    "version",
];

/// Processes of ours that nobody types.
const HIDDEN: [&str; 4] = ["shim", "shim-exec", "whoami", "relay-opener"];

#[test]
fn completions_know_every_verb_and_flag() {
    let Some(site) = Site::new("completions") else { return };
    for shell in ["bash", "zsh", "fish"] {
        let script = site.wharf.ok(["completion", shell]);
        for word in VERBS.iter().chain(&["publish-all", "trusted-interface", "completion", "man"]) {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
    }
    let mut command = std::process::Command::new("/bin/bash");
    let script = site.wharf.directory().join("completion");
    std::fs::write(&script, site.wharf.ok(["completion", "bash"])).unwrap();
    // As bash would ask it after `wharf re<Tab>`.
    let ask = format!(
        "source {} && COMP_WORDS=(wharf re) COMP_CWORD=1 && _wharf wharf re wharf && \
         echo ${{COMPREPLY[@]}}",
        script.display()
    );
    command.args(["-c", &ask]);
    let output = site.host.output(command, super::site::LIMIT).unwrap();
    assert_eq!(output.stdout.trim(), "restart rename relay relay-opener", "{output:?}");
    assert_eq!(site.wharf.processes(), [], "no daemon is needed");
}

#[test]
fn every_verb_has_a_man_page_and_help() {
    let Some(site) = Site::new("man pages") else { return };
    let directory = site.wharf.directory().join("man");
    site.wharf.ok(["man", directory.to_str().unwrap()]);
    let read = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
    let all = read("wharf.1");
    let help = site.wharf.ok(["--help"]);
    for verb in VERBS {
        assert!(all.contains(&format!("wharf\\-{verb}(1)")), "wharf.1 does not mention {verb}");
        let page = read(&format!("wharf-{verb}.1"));
        assert!(
            page.contains(".SH SYNOPSIS") && page.contains(".SH DESCRIPTION"),
            "{verb}: {page}"
        );
        assert!(help.lines().any(|line| line.trim_start().starts_with(verb)), "{verb} in --help");
        let own = site.wharf.ok([verb, "--help"]);
        assert!(own.contains(&format!("Usage: wharf {verb}")), "{own}");
    }
    for verb in HIDDEN {
        assert!(!help.lines().any(|line| line.trim_start().starts_with(verb)), "{verb} is ours");
        assert!(!directory.join(format!("wharf-{verb}.1")).exists(), "{verb} is ours");
    }
    for verb in ["create", "ls", "inspect", "rm"] {
        assert!(directory.join(format!("wharf-network-{verb}.1")).exists(), "network {verb}");
    }
    assert_eq!(site.wharf.processes(), [], "no daemon is needed");
}

#[test]
fn a_name_is_never_part_of_a_request() {
    let Some(site) = Site::new("odd names") else { return };
    site.run("web");
    let odd = ["web?force=true&x=", "web/../web", "we b", "web#", "%77eb", "wéb", "..", "web/stop"];
    for name in odd {
        for verb in ["rm", "stop", "start", "kill", "restart", "logs", "wait", "port"] {
            let refused = site.wharf.fails([verb, name]);
            assert_eq!(refused.code(), 1, "{verb} {name}: {refused:?}");
            let text = format!("no such container: {name}");
            assert!(refused.stderr.contains(&text), "{verb} {name}: {refused:?}");
        }
        assert_eq!(site.wharf.fails(["exec", name, "true"]).code(), 125);
        let refused = site.wharf.fails(["inspect", name]);
        let text = format!("no such container, image, network or volume: {name}");
        assert!(refused.stderr.contains(&text), "{name}: {refused:?}");
        assert_eq!(site.wharf.fails(["rmi", name]).code(), 1);
        assert_eq!(site.wharf.fails(["network", "rm", name]).code(), 1);
    }
    assert_eq!(site.wharf.fails(["kill", "-s", "TERM&signal=KILL", "web"]).code(), 1);
    assert_eq!(site.wharf.json(["ps"])[0]["state"], "running");
}
