//! `--format '{{…}}'`.

use super::site::Site;

#[test]
fn what_scripts_ask_docker_for_is_answered() {
    let Some(site) = Site::new("template") else { return };
    let id = site.ok(&["-d", "--name", "box", "-l", "a.b=c"], &["sleep", "1000"]);
    let print = |format: &str| site.wharf.ok(["inspect", "-f", format, "box"]);
    assert_eq!(print("{{.State.Status}} {{.Name}}"), "running /box");
    assert_eq!(print("{{index .Config.Labels \"a.b\"}}"), "c");
    let address = print("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}");
    assert!(address.parse::<std::net::Ipv4Addr>().is_ok(), "{address}");
    assert_eq!(print("{{.NetworkSettings.IPAddress}}"), address);
    let line = site.wharf.ok(["ps", "--format", "{{.ID}}\\t{{.Names}}\\t{{.State}}"]);
    assert_eq!(line, format!("{}\tbox\trunning", &id[..12]));
    assert_eq!(site.wharf.ok(["container", "ls", "--no-trunc", "--format", "{{.ID}}"]), id);
}

#[test]
fn what_is_not_served_is_refused() {
    let Some(site) = Site::new("no template") else { return };
    site.detached("box", "sleep 1000");
    site.refused(&["ps", "--format", "{{if .ID}}x{{end}}"], 2, "--format json");
    site.refused(&["inspect", "-f", "{{.Nope}}", "box"], 1, "no field \"Nope\" here: there are");
}
