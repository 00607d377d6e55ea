//! Two instances on one machine, each in a network namespace of its own.
//!
//! They share everything else: processes, mounts, cgroups. Same names and same ports.

#[cfg(test)]
mod side_by_side {
    use std::time::Duration;

    use wharf_lab::{Host, Lab, Wharf, can_run, wait};

    const LIMIT: Duration = Duration::from_secs(20);

    struct Side {
        host: Host,
        wharf: Wharf,
    }

    impl Side {
        fn new(lab: &Lab, name: &str) -> Self {
            let host = lab.host(name).unwrap();
            let wharf = host.wharf(env!("CARGO_BIN_EXE_wharf")).unwrap();
            Self { host, wharf }
        }

        fn run(&self) {
            let flags = ["run", "-d", "--name", "web", "-p", "8080:80", "-e", "A=1"];
            self.wharf.ok([&flags[..], &["-h", self.host.name(), "wharf/whoami"]].concat());
            wait::until(LIMIT, "an answer", || self.hostname()).unwrap();
        }

        /// Who answers at the published port.
        fn hostname(&self) -> Option<String> {
            let answer = self.host.http_get("127.0.0.1:8080", "/api").ok()?.json().ok()?;
            Some(answer["hostname"].as_str()?.to_owned())
        }

        #[track_caller]
        fn is_well(&self, pid: i32) {
            assert_eq!(self.hostname().as_deref(), Some(self.host.name()));
            assert_eq!(self.pid(), pid, "the same process");
            let running = self.wharf.json(["ps"]);
            assert_eq!(running.as_array().unwrap().len(), 1, "its own container and no other");
            assert_eq!(self.wharf.ok(["exec", "web", "/wharf", "--version"]).len(), 11);
        }

        fn pid(&self) -> i32 {
            let found: serde_json::Value =
                serde_json::from_str(&self.wharf.ok(["inspect", "web"])).unwrap();
            i32::try_from(found[0]["State"]["Pid"].as_i64().unwrap()).unwrap()
        }
    }

    #[test]
    fn two_instances_with_the_same_names_and_ports_do_not_disturb_each_other() {
        if !can_run() {
            return;
        }
        let lab = Lab::new("side by side").unwrap();
        let [left, right] = ["left", "right"].map(|name| Side::new(&lab, name));
        let before =
            [&left, &right].map(|side| side.wharf.snapshot().unwrap().without("run directory"));
        left.run();
        right.run();
        let (left_pid, right_pid) = (left.pid(), right.pid());
        left.is_well(left_pid);
        right.is_well(right_pid);
        assert_ne!(left.wharf.pids_of("daemon"), right.wharf.pids_of("daemon"));
        let groups = |side: &Side| side.wharf.snapshot().unwrap().section("cgroups").to_vec();
        let (of_left, of_right) = (groups(&left), groups(&right));
        assert!(!of_left.is_empty() && !of_right.is_empty());
        assert!(of_left.iter().all(|it| !of_right.contains(it)), "{of_left:?} {of_right:?}");

        // One is killed and comes back, and tidies up after itself only.
        left.wharf.kill9("daemon").unwrap();
        right.is_well(right_pid);
        left.is_well(left_pid);
        right.is_well(right_pid);

        // One stops for good.
        left.wharf.ok(["rm", "-f", "web"]);
        left.wharf.ok(["shutdown"]);
        left.wharf.settles_to(&before[0], LIMIT).unwrap();
        right.is_well(right_pid);
        assert_eq!(groups(&right), of_right, "its cgroups are there");

        // And starts again beside the other.
        left.run();
        right.is_well(right_pid);
        right.wharf.ok(["shutdown", "--all"]);
        right.wharf.settles_to(&before[1], LIMIT).unwrap();
        let pid = left.pid();
        left.is_well(pid);
        left.wharf.ok(["shutdown", "--all"]);
        left.wharf.settles_to(&before[0], LIMIT).unwrap();
    }

    #[test]
    fn instances_that_start_at_the_same_moment_do_not_meet() {
        if !can_run() {
            return;
        }
        let lab = Lab::new("same moment").unwrap();
        let sides: Vec<Side> = ["a", "b", "c"].map(|name| Side::new(&lab, name)).into();
        std::thread::scope(|scope| {
            for side in &sides {
                scope.spawn(|| side.run());
            }
        });
        for side in &sides {
            let pid = side.pid();
            side.is_well(pid);
        }
        std::thread::scope(|scope| {
            for side in &sides {
                scope.spawn(|| side.wharf.ok(["shutdown", "--all"]));
            }
        });
        for side in &sides {
            // The relay ends a moment after it has been told to.
            let over = || side.wharf.processes().is_empty().then_some(());
            wait::until(LIMIT, "the end of all processes", over).unwrap();
        }
    }
}
