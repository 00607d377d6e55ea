//! Requests that are wrong in themselves.

use super::scene::{Row, Scene, run};

/// `-p` and what is said of it.
fn specs<'a>(rows: &[(&'a str, &'a [&'a str])]) -> Vec<Row<'a>> {
    rows.iter().map(|(spec, says)| run(&["-p", spec], says)).collect()
}

#[test]
fn a_port_spec_is_refused_in_dockers_words() {
    let Some(scene) = Scene::warm("specs") else { return };
    scene.refuses(&specs(&[
        ("", &["no port specified: <empty>", "See 'wharf run --help'"]),
        ("8080:", &["no port specified: 8080:<empty>"]),
        ("127.0.0.1:8080:", &["no port specified: 127.0.0.1:8080:<empty>"]),
        ("80/foo", &["invalid proto: foo"]),
        ("localhost:80:80", &["invalid IP address: localhost"]),
        ("[fe80::1%eth0]:80:80", &["invalid IP address: fe80::1%eth0"]),
        ("127.0.0.1:80", &["invalid hostPort: 127.0.0.1"]),
        ("65536:80", &["invalid hostPort: 65536"]),
        ("http:80", &["invalid hostPort: http"]),
        ("80:65536", &["invalid containerPort: 65536"]),
        ("80:http", &["invalid containerPort: http"]),
        ("90-80:80", &["invalid hostPort: 90-80"]),
        ("90-:80", &["invalid hostPort: 90-"]),
        ("-90:80", &["invalid hostPort: -90"]),
        ("8080:0", &["invalid port specification: \"0/tcp\""]),
        ("0-100:80", &["invalid port range: 0-100"]),
        (
            "8000-8002:80-81",
            &["invalid ranges specified for container and host Ports: 80-81 and 8000-8002"],
        ),
        ("8000:80-82", &["invalid ranges specified for container and host Ports: 80-82 and 8000"]),
    ]));
}

#[test]
fn a_publish_option_is_refused_with_what_may_stand_there() {
    let Some(scene) = Scene::warm("options") else { return };
    scene.refuses(&specs(&[
        ("published=8080,80", &["invalid publish opts format (should be name=value but got '80')"]),
        ("published=8080", &["no port specified: 8080:"]),
        ("target=80,mode=host", &["invalid field key: mode: use "]),
        ("80,via=iptables", &["invalid value \"iptables\" for via: use auto, relay, nft, ebpf"]),
        ("80,via=nft,via=nft", &["duplicate field key: via"]),
        ("80,allow=lan", &["invalid value \"lan\" for allow"]),
        ("80,source=host", &["invalid value \"host\" for source: use auto, client, gateway"]),
        ("80,proxy-protocol=v3", &["invalid value \"v3\" for proxy-protocol: use v1, v2, off"]),
    ]));
}

#[test]
fn what_no_plane_can_serve_is_refused_with_the_way_out() {
    let Some(scene) = Scene::warm("planes") else { return };
    scene.refuses(&specs(&[
        ("8080:80/sctp", &["sctp cannot be published"]),
        ("8080:80,via=ebpf,proxy-protocol=v2", &["via=ebpf cannot be honoured", "use via=auto"]),
        ("8080:80/udp,proxy-protocol=v1", &["knows no udp: use proxy-protocol=v2"]),
        ("127.0.0.1:8080:80,via=nft", &["via=nft cannot be honoured", "use via=auto"]),
        (
            "127.0.0.1:8080:80,source=client",
            &["source=client cannot be honoured", "other hosts can reach", "leave it out"],
        ),
    ]));
}

#[test]
fn options_of_a_container_are_refused_before_it_is_made() {
    let Some(scene) = Scene::warm("containers") else { return };
    let long = "a".repeat(64);
    scene.refuses(&[
        run(
            &["--name", "a b"],
            &["invalid container name (a b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"],
        ),
        run(&["--name", "x"], &["invalid container name (x)"]),
        run(&["--name", "../etc"], &["invalid container name (../etc)"]),
        run(&["--platform", "windows/amd64"], &["invalid platform \"windows/amd64\""]),
        run(&["--hostname", "a+b"], &["invalid hostname: a+b"]),
        run(&["--hostname=-a"], &["invalid hostname: -a"]),
        run(&["--hostname", &long], &["invalid hostname"]),
        run(&["-e", "=x"], &["invalid environment variable: \"=x\""]),
        run(&["--expose", "http"], &["invalid range format for --expose: http"]),
        run(&["--expose", "8080:80"], &["invalid range format for --expose: 8080:80"]),
        run(&["--expose", "0"], &["invalid range format for --expose: 0"]),
        run(
            &["-v", "relative/dir:/data"],
            &["invalid volume specification", "relative/dir", "begins with / or ."],
        ),
        run(&["-v", "/srv:data"], &["invalid volume specification", "must be absolute"]),
        run(&["-v", "/srv:/"], &["invalid volume specification", "destination can't be '/'"]),
        run(
            &["-v", "/srv:/data:z,shared"],
            &["invalid volume specification", "option \"z\"", "leave it out"],
        ),
        run(&["-v", "/srv:/a/../b"], &["invalid volume specification"]),
        run(&["--network", "nosuch"], &["no such network: nosuch"]),
        run(&["--network", "host", "--ip", "192.0.2.7"], &["the network mode \"host\""]),
        run(&["--network", "container:nosuch"], &["no such container: nosuch"]),
        run(
            &["--ip", "192.0.2.7"],
            &["invalid address 192.0.2.7", "does not belong to the network's subnet"],
        ),
        run(&["--ip6", "2001:db8::7"], &["invalid address 2001:db8::7"]),
        run(&["-p", "80:80", "-p", "bad"], &["invalid containerPort: bad"]),
    ]);
}

#[test]
fn images_that_are_not_there_are_refused_with_where_to_get_them() {
    let Some(scene) = Scene::warm("images") else { return };
    let image =
        |image, says| Row { line: vec!["run", "-d", "-p", "8080:80", image], code: 125, says };
    let here = |image, says| Row { line: vec!["run", "--pull=never", image], code: 125, says };
    scene.refuses(&[
        here("nosuch", &["no such image: nosuch", "wharf pull NAME", "wharf load -i FILE"]),
        here("wharf/whoami:v0", &["no such image: wharf/whoami:v0"]),
        image("wharf/whoami:v0", &["wharf/whoami is built in"]),
        image("Not An Image", &["invalid reference format"]),
        image("dir:/nosuch", &["/nosuch"]),
        image("dir:", &["a path must follow"]),
        image("docker-archive:/nosuch.tar", &["/nosuch.tar"]),
        image("oci-archive:/nosuch.tar", &["/nosuch.tar"]),
    ]);
}

#[test]
fn create_is_refused_as_run_is() {
    let Some(scene) = Scene::warm("create") else { return };
    let create = |option, value, says| Row {
        line: vec!["create", option, value, "wharf/whoami"],
        code: 125,
        says,
    };
    scene.refuses(&[
        create("-p", "x:80", &["invalid hostPort: x", "See 'wharf create --help'"]),
        create("-p", "80/sctp", &["sctp cannot be published"]),
        create("--network", "nosuch", &["no such network: nosuch"]),
        create("--name", "a b", &["invalid container name (a b)"]),
    ]);
}

#[test]
fn nothing_can_be_published_on_an_isolated_network() {
    let Some(scene) = Scene::warm("isolated") else { return };
    scene.wharf.ok(["network", "create", "--internal", "--gateway-mode", "isolated", "cell"]);
    let says =
        ["cannot publish", "network \"cell\" is isolated", "use a network of another gateway mode"];
    scene.refuses(&[run(&["--network", "cell", "-p", "8080:80"], &says)]);
}
