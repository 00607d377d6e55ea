//! Two hundred containers, twenty at a time.

use std::time::Duration;

use super::site::Site;

const AT_A_TIME: usize = 20;
const ROUNDS: usize = 10;
const LIMIT: Duration = Duration::from_secs(60);

/// Asks for somebody who is always there, for as long as it runs.
const ASK: &str = "while :; do
    if nslookup -type=a witness. >/dev/null 2>&1; then echo found; else echo lost; fi
    sleep 0.05
done";

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
    site.ok(&["-d", "--name", "witness", "--network", "crowd"], &["sleep", "1000"]);
    site.ok(&["-d", "--name", "asker", "--network", "crowd"], &["sh", "-c", ASK]);
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
        assert_eq!(up.lines().count(), AT_A_TIME + 2, "round {round}");
        let names: Vec<String> = (0..AT_A_TIME).map(name).collect();
        let script = format!(
            "for it in {}; do nslookup -type=a $it. >/dev/null || echo $it; done",
            names.join(" ")
        );
        assert_eq!(site.exec("asker", &script), "", "names that are not found");
        let addresses: std::collections::BTreeSet<String> =
            (0..AT_A_TIME).map(|it| site.wharf.network_setting(&name(it), "IPAddress")).collect();
        assert_eq!(addresses.len(), AT_A_TIME, "each has an address of its own");
        together(|number| drop(site.wharf.ok(["rm", "-f", &name(number)])));
        let gone = site.exec("asker", &format!("nslookup -type=a {}. || echo gone", name(0)));
        assert!(gone.contains("gone"), "{gone}");
    }
    let asked = site.wharf.ok(["logs", "asker"]);
    let (found, lost): (Vec<&str>, Vec<&str>) = asked.lines().partition(|line| *line == "found");
    assert!(found.len() > ROUNDS && lost.is_empty(), "{} found, {} lost", found.len(), lost.len());
    assert_eq!(site.wharf.ok(["ps", "-aq"]).lines().count(), 2);
    site.wharf.settles_to(&before, LIMIT).unwrap();
}
