//! Two hundred containers, twenty at a time.

use std::time::Duration;

use super::site::Site;

const AT_A_TIME: usize = 20;
const ROUNDS: usize = 10;
const LIMIT: Duration = Duration::from_secs(60);

/// Does `work` for each number below [`AT_A_TIME`] at once.
fn together(work: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        for number in 0..AT_A_TIME {
            let work = &work;
            scope.spawn(move || work(number));
        }
    });
}

#[test]
fn two_hundred_containers_come_and_go_and_leave_nothing() {
    let Some(site) = Site::new("crowd") else { return };
    site.wharf.ok(["network", "create", "crowd"]);
    // What a first port brings, and what stays until the daemon ends.
    let flags = ["-d", "--name", "first", "--network", "crowd", "-p", "20000:80"];
    site.ok(&flags, &["sleep", "1000"]);
    site.wharf.ok(["rm", "-f", "first"]);
    let before = site.wharf.snapshot().unwrap();
    for round in 0..ROUNDS {
        let name = |number: usize| format!("c{round}-{number}");
        together(|number| {
            let name = name(number);
            let port = format!("{}:80", 20_000 + number);
            let flags = ["-d", "--name", &name, "--network", "crowd", "-p", &port];
            site.ok(&flags, &["sleep", "1000"]);
        });
        let up = site.wharf.ok(["ps", "-q"]);
        assert_eq!(up.lines().count(), AT_A_TIME, "round {round}");
        let addresses: std::collections::BTreeSet<String> =
            (0..AT_A_TIME).map(|it| site.wharf.network_setting(&name(it), "IPAddress")).collect();
        assert_eq!(addresses.len(), AT_A_TIME, "each has an address of its own");
        together(|number| drop(site.wharf.ok(["rm", "-f", &name(number)])));
    }
    assert_eq!(site.wharf.ok(["ps", "-aq"]), "");
    site.wharf.settles_to(&before, LIMIT).unwrap();
}
