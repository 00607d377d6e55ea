//! A host with a neighbour, an instance on it, and a container that has nothing to do with what
//! goes wrong.

use std::ops::Deref;
use std::time::Duration;

use wharf_lab::{Daemon, Host, Scene, Snapshot, wait};

pub(super) const LIMIT: Duration = Duration::from_secs(20);
/// The host as its neighbour knows it.
const HOST: &str = "10.1.0.2";

pub(super) struct Site(Scene);

impl Site {
    pub(super) fn new(name: &str) -> Option<Self> {
        Scene::builder(name, env!("CARGO_BIN_EXE_wharf")).settled().build().map(Self)
    }

    /// Runs `wharf/whoami` as `name`, published at `port`.
    pub(super) fn run(&self, name: &str, port: u16) {
        self.wharf.ok(["run", "-d", "-p", &format!("{port}:80"), "--name", name, "wharf/whoami"]);
    }

    /// Whether the container behind `port` answers by every path: a neighbour's in both families
    /// (kernel NAT) and the host's own (the relay).
    pub(super) fn served(&self, port: u16) -> Result<(), String> {
        let ask = |from: &Host, address: String| {
            let answer = from.http_get(&address, "/health").map_err(|e| format!("{e:#}"))?;
            (answer.status == 200).then_some(()).ok_or_else(|| format!("{address}: {answer:?}"))
        };
        ask(&self.host, format!("127.0.0.1:{port}"))?;
        ask(&self.host, format!("[::1]:{port}"))?;
        ask(&self.remote, format!("{HOST}:{port}"))?;
        ask(&self.remote, format!("[fd01::2]:{port}"))
    }

    /// Waits until the program in the container has come to answer.
    #[track_caller]
    pub(super) fn answers(&self, port: u16) {
        let mut last = Ok(());
        let answered = wait::until(LIMIT, &format!("an answer at port {port}"), || {
            last = self.served(port);
            last.is_ok().then_some(())
        });
        assert!(answered.is_ok(), "{answered:?}: {last:?}");
    }

    /// As [`Site::answers`], but without any patience: it must not have stopped.
    #[track_caller]
    pub(super) fn still_answers(&self, port: u16) {
        assert_eq!(self.served(port), Ok(()), "port {port} is not served any more");
    }

    pub(super) fn pid(&self, name: &str) -> u64 {
        self.wharf.inspect(name)["State"]["Pid"].as_u64().unwrap()
    }

    /// Everything that could leak, before anything was started.
    pub(super) fn untouched(&self) -> Snapshot {
        self.wharf.snapshot().unwrap()
    }

    #[track_caller]
    pub(super) fn settles_to(&self, before: &Snapshot) {
        let settled = self.wharf.settles_to(before, LIMIT);
        assert!(settled.is_ok(), "{:#}", settled.unwrap_err());
    }

    /// Removes `web`, then `other` beside it, and ends `daemon`: after the one the host is as `quiet`,
    /// after all of it as `untouched`.
    pub(super) fn goes_without_a_trace(
        &self,
        daemon: Daemon,
        quiet: &Snapshot,
        untouched: &Snapshot,
    ) {
        self.wharf.ok(["rm", "-f", "web"]);
        self.settles_to(quiet);
        self.still_answers(9090);
        self.wharf.ok(["rm", "-f", "other"]);
        self.wharf.ok(["shutdown"]);
        daemon.wait(LIMIT).unwrap();
        self.left_nothing(untouched);
    }

    /// Everything is as it was `before`, and of files there is nothing but what an instance keeps.
    #[track_caller]
    pub(super) fn left_nothing(&self, before: &Snapshot) {
        self.settles_to(&before.clone().without("run directory"));
        let now = self.wharf.snapshot().unwrap();
        let kept = ["containers", "daemon.lock", "relay.lock", "relay.log"];
        let files = now.section("run directory").iter();
        let surplus: Vec<_> = files.filter(|it| !kept.contains(&it.as_str())).collect();
        assert!(surplus.is_empty(), "left in the run directory: {surplus:?}");
        for place in ["containers", "volumes", "images/scratch"] {
            let place = self.wharf.state_dir().join(place);
            let left: Vec<_> = std::fs::read_dir(&place).unwrap().flatten().collect();
            assert!(left.is_empty(), "left in {}: {left:?}", place.display());
        }
    }

    /// The kernel's switches that Wharf may have to turn.
    pub(super) fn switches(&self) -> Vec<String> {
        let names = [
            "net/ipv4/ip_forward",
            "net/ipv6/conf/all/forwarding",
            "net/ipv6/conf/eth0/accept_ra",
            "net/ipv4/conf/eth0/route_localnet",
        ];
        names.map(|name| self.host.read_sysctl(name).unwrap()).to_vec()
    }

    /// Ends `daemon` the ordinary way.
    pub(super) fn stop(&self, daemon: Daemon) {
        daemon.stop().unwrap();
    }
}

impl Deref for Site {
    type Target = Scene;

    fn deref(&self) -> &Scene {
        &self.0
    }
}
