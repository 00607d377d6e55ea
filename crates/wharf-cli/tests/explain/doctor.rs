//! What the doctor finds: nothing on a good host, and each fault by its name.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use wharf_lab::{Docker, Iptables, Ufw};

use super::scene::Scene;

/// What `wharf doctor` found: its exit code, and its checks.
struct Found {
    code: i32,
    checks: Vec<Value>,
}

impl Found {
    fn at(scene: &Scene) -> Self {
        let (code, found) = scene.wharf.doctor();
        let Value::Array(checks) = found else { panic!("not a list: {found}") };
        Self { code, checks }
    }

    /// The status, the text and the remedies of a check.
    fn of(&self, name: &str) -> (String, String, String) {
        let found = self.checks.iter().find(|check| check["check"] == name);
        let check = found.unwrap_or_else(|| panic!("no check {name}: {:#?}", self.checks));
        let remedy = check["remedy"].as_array().unwrap().iter().map(|it| it.as_str().unwrap());
        let text = |key: &str| check[key].as_str().unwrap().to_owned();
        (text("status"), text("text"), remedy.collect::<Vec<_>>().join("\n"))
    }

    #[track_caller]
    fn says(&self, name: &str, status: &str, words: &str, advice: &str) {
        let (found, text, remedy) = self.of(name);
        assert_eq!(found, status, "{name}: {text}");
        assert!(text.contains(words), "{name}: {text}");
        assert!(remedy.contains(advice), "{name}: {remedy}");
    }
}

#[test]
fn a_good_host_has_no_problem() {
    let Some(scene) = Scene::new("healthy") else { return };
    scene.whoami("web", ["-p", "8080:80"]);
    let found = Found::at(&scene);
    let problems: Vec<&Value> =
        found.checks.iter().filter(|it| it["status"] == "problem").collect();
    assert_eq!((found.code, problems.as_slice()), (0, [].as_slice()));
    for name in ["nft", "forwarding-v4", "forwarding-v6", "relay", "way-back", "publication"] {
        assert_eq!(found.of(name).0, "ok", "{name}");
    }
    for check in &found.checks {
        let is_ok = check["status"] == "ok";
        assert_eq!(check["effect"].is_null(), is_ok, "{check}");
    }
    let told = scene.wharf.ok(["doctor"]);
    assert!(told.contains("ok       nft") && told.contains("0 problems"), "{told}");
}

#[test]
fn a_host_without_anything_published_is_looked_at_too() {
    let Some(scene) = Scene::new("untouched") else { return };
    let found = Found::at(&scene);
    assert_eq!(found.code, 0, "{:#?}", found.checks);
    found.says("relay", "ok", "started with the first published port", "");
    found.says("table", "ok", "made with the first network", "");
}

#[test]
fn settings_that_stand_in_the_way_are_named() {
    let Some(scene) = Scene::new("settings") else { return };
    scene.whoami("web", ["-p", "8080:80", "-p", "40000-40003:9000-9003"]);
    scene.host.sysctl("net/ipv4/conf/eth0/forwarding", "0").unwrap();
    scene.host.sysctl("net/ipv4/conf/eth0/route_localnet", "1").unwrap();
    let found = Found::at(&scene);
    assert_eq!(found.code, 1);
    found.says("forwarding-v4", "problem", "not forwarded from eth0", "conf/eth0/forwarding=1");
    found.says("route_localnet", "note", "by eth0", "");
    found.says("ephemeral-ports", "note", "40000-40003", "ip_local_reserved_ports=40000-40003");
    scene.host.sysctl("net/ipv4/ip_forward", "0").unwrap();
    let found = Found::at(&scene);
    found.says("forwarding-v4", "problem", "IPv4 is not forwarded", "net.ipv4.ip_forward=1");
}

const RULES: &str = "table inet others { \
    chain forward { type filter hook forward priority 0; policy drop; }; \
    chain input { type filter hook input priority 0; policy drop; }; }";

#[test]
fn rules_of_others_are_named_with_what_they_do() {
    let Some(scene) = Scene::new("rules of others") else { return };
    scene.whoami("web", ["-p", "8080:80"]);
    if !scene.runs("nft", &[RULES]) {
        return;
    }
    scene.once("8080", |way| way.value["plane"] == "relay");
    let found = Found::at(&scene);
    assert_eq!(found.code, 1);
    let remedy = "nft insert rule inet others forward oifname \"wharf0\"";
    found.says("firewall-nftables", "note", "drops forwarded packets", remedy);
    found.says("port", "problem", "other hosts cannot reach 8080/tcp", "nft insert rule");
}

#[test]
fn a_relay_that_is_stopped_and_a_port_that_is_down_are_problems() {
    let Some(scene) = Scene::new("own faults") else { return };
    scene.whoami("web", ["-p", "8080:80"]);
    let relay = Pid::from_raw(scene.wharf.pids_of("relay")[0]).unwrap();
    kill_process(relay, Signal::STOP).unwrap();
    let found = Found::at(&scene);
    found.says("relay", "problem", "is stopped", "kill -CONT");
    assert_eq!(found.code, 1);
    kill_process(relay, Signal::CONT).unwrap();
}

#[test]
fn ufw_is_named_with_what_it_blocks() {
    let Some(scene) = Scene::new("doctor ufw") else { return };
    let Some(_ufw) = Ufw::start(&scene.host, Iptables::Nft).unwrap() else { return };
    scene.whoami("web", ["-p", "8080:80"]);
    let found = Found::at(&scene);
    found.says("firewall-ufw", "note", "ufw drops forwarded packets", "ufw route allow");
    found.says("port", "problem", "other hosts cannot reach 8080/tcp: ufw", "ufw allow 8080/tcp");
    let way = scene.by_remote("8080");
    way.fails("firewall", "ufw drops packets to this host", "ufw allow 8080/tcp");
}

#[test]
fn dockers_ports_are_compared_with_ours() {
    let Some(scene) = Scene::new("doctor docker") else { return };
    let Some(rootfs) = scene.busybox() else { return };
    let home = scene.host.wharf(env!("CARGO_BIN_EXE_wharf")).unwrap();
    let Some(docker) = Docker::start(&home, &["--bip=172.29.0.1/24"]).unwrap() else { return };
    docker.import(&rootfs, "box").unwrap();
    let scene = scene.with_engine("WHARF_DOCKER_SOCKET", &docker.socket());
    docker.ok(&["run", "-d", "-p", "9000:80", "--name", "theirs", "box", "sleep", "600"]);
    scene.whoami("web", ["-p", "8080:80"]);
    let found = Found::at(&scene);
    found.says("docker", "ok", "it publishes ", "");
    found.says("firewall-docker", "note", "docker drops forwarded packets", "DOCKER-USER");
}
