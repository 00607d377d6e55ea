//! Nothing goes wrong, and nothing is left.

use super::site::Site;

#[test]
fn after_removal_and_shutdown_the_host_is_as_it_was() {
    let Some(site) = Site::new("as it was") else { return };
    let untouched = site.untouched();
    let switches = site.switches();
    assert_eq!(switches[0], "0", "a host that forwards shows nothing");
    site.run("web", 8080);
    let flags = [
        "run",
        "-d",
        "-p",
        "53:80/udp",
        "-p",
        "9000-9009:9000-9009",
        "-p",
        "127.0.0.1:9100:80",
        "-p",
        "80",
        "-P",
        "-v",
        "/data",
        "--name",
        "many",
        "wharf/whoami",
    ];
    site.wharf.ok(flags);
    site.wharf.ok(["network", "create", "--subnet", "10.77.0.0/24", "side"]);
    site.wharf.ok([
        "run",
        "-d",
        "--network",
        "side",
        "-p",
        "8081:80",
        "--name",
        "aside",
        "wharf/whoami",
    ]);
    site.answers(8080);
    site.answers(8081);
    assert_eq!(site.switches()[0], "1");

    site.wharf.ok(["rm", "-f", "-v", "web", "many", "aside"]);
    site.wharf.ok(["network", "rm", "side"]);
    site.wharf.ok(["shutdown"]);
    site.left_nothing(&untouched);
    assert_eq!(site.switches(), switches, "forwarding is put back");

    // And once more, as the second start finds a used state directory.
    site.run("web", 8080);
    site.answers(8080);
    site.wharf.ok(["shutdown", "--all"]);
    site.left_nothing(&untouched);
    assert_eq!(site.switches(), switches);
}

#[test]
fn a_host_that_forwarded_before_does_so_afterwards() {
    let Some(site) = Site::new("forwarded") else { return };
    site.host.forward().unwrap();
    let switches = site.switches();
    site.run("web", 8080);
    site.wharf.ok(["shutdown", "--all"]);
    assert_eq!(site.switches(), switches);
}

#[test]
fn a_failed_start_leaves_nothing() {
    let Some(site) = Site::new("failed start") else { return };
    let untouched = site.untouched();
    site.run("web", 8080);
    site.answers(8080);
    let quiet = site.wharf.snapshot().unwrap();
    let _taken = site.host.tcp_listen("0.0.0.0:9003").unwrap();
    let with_taken = site.wharf.snapshot().unwrap();
    let range = ["run", "-d", "--rm", "-p", "9000-9009:9000-9009", "wharf/whoami"];
    assert_eq!(site.wharf.fails(range).code(), 125);
    let missing = ["run", "-d", "--rm", "-p", "8082:80", "--entrypoint", "/nope", "wharf/whoami"];
    assert_eq!(site.wharf.fails(missing).code(), 127);
    site.settles_to(&with_taken);
    drop(_taken);
    site.settles_to(&quiet);
    site.still_answers(8080);
    site.wharf.ok(["shutdown", "--all"]);
    site.left_nothing(&untouched);
}
