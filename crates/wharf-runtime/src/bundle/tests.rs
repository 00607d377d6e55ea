use std::path::PathBuf;

use super::*;

fn spec(dir: &Path) -> ContainerSpec {
    ContainerSpec {
        id: "c1".to_owned(),
        layers: Vec::new(),
        dir: dir.to_owned(),
        args: vec!["sh".to_owned()],
        env: vec!["PATH=/bin".to_owned()],
        workdir: "/".to_owned(),
        user: String::new(),
        hostname: "box".to_owned(),
        binds: Vec::new(),
        stop_signal: None,
        cgroup: "/wharf-test/c1".into(),
        labels: [("a".to_owned(), "b".to_owned())].into(),
        terminal: Default::default(),
        resources: Default::default(),
        security: Default::default(),
        storage: Default::default(),
        network: Default::default(),
        domainname: None,
    }
}

fn user(uid: u32) -> User {
    User { uid, gid: uid, groups: vec![5], home: "/home/x".to_owned() }
}

fn bind(source: &Path, target: &str) -> Bind {
    Bind { source: source.to_owned(), target: target.into(), read_only: true, copy_up: false }
}

fn targets(config: &Value) -> Vec<&str> {
    let mounts = config["mounts"].as_array().unwrap();
    mounts.iter().map(|mount| mount["destination"].as_str().unwrap()).collect()
}

#[test]
fn libcontainer_reads_what_is_written() {
    let dir = tempfile::tempdir().unwrap();
    for layout in [Layout::Unified, Layout::Separate(vec!["/sys/fs/cgroup/devices".into()])] {
        let config = config(&spec(dir.path()), &user(0), Path::new("/r"), &layout);
        let read: oci_spec::runtime::Spec = serde_json::from_value(config).unwrap();
        assert_eq!(read.hostname().as_deref(), Some("box"));
        let process = read.process().as_ref().unwrap();
        assert_eq!(process.no_new_privileges(), Some(true));
        assert!(process.env().as_ref().unwrap().contains(&"HOME=/home/x".to_owned()));
        let linux = read.linux().as_ref().unwrap();
        assert!(linux.masked_paths().as_ref().unwrap().contains(&"/proc/kcore".to_owned()));
        assert_eq!(linux.resources().as_ref().unwrap().devices().as_ref().unwrap().len(), 12);
    }
}

#[test]
fn only_root_holds_capabilities_and_mknod_needs_a_device_filter() {
    let caps =
        |uid, layout: &Layout| process(&[], &[], "/", &user(uid), layout)["capabilities"].clone();
    let separate = Layout::Separate(vec!["/sys/fs/cgroup/devices".into()]);
    let root = caps(0, &separate);
    assert_eq!(root["bounding"], root["effective"]);
    let other = caps(7, &separate);
    assert_eq!(
        (other["effective"].as_array().unwrap().len(), &other["bounding"]),
        (0, &root["bounding"])
    );
    let text = caps(0, &Layout::Unified).to_string();
    assert!(!text.contains("MKNOD") && !text.contains("SYS_ADMIN"), "{text}");
}

#[test]
fn a_users_mount_takes_the_place_of_a_default_and_parents_come_first() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("hosts"), "").unwrap();
    std::fs::write(dir.path().join("resolv.conf"), "").unwrap();
    let mut spec = spec(dir.path());
    spec.binds = ["/a/b/c", "/dev/shm", "/a", "/etc/hosts"]
        .iter()
        .map(|target| bind(dir.path(), target))
        .collect();
    let config = config(&spec, &user(0), Path::new("/r"), &Layout::Unified);
    let targets = targets(&config);
    let place = |target: &str| targets.iter().position(|t| *t == target).unwrap();
    assert!(place("/a") < place("/a/b/c"));
    assert!(place("/sys") < place("/sys/fs/cgroup"));
    for target in ["/etc/hosts", "/dev/shm", "/etc/resolv.conf"] {
        assert_eq!(targets.iter().filter(|t| **t == target).count(), 1, "{target}");
    }
    assert!(!targets.contains(&"/etc/hostname"));
}

#[test]
fn bad_mounts_are_refused_with_dockers_text() {
    let refused = |source: &str, target: &str| {
        check_binds(&[bind(&PathBuf::from(source), target)]).unwrap_err().to_string()
    };
    assert!(refused("/no/such", "/x").contains("bind source path does not exist: /no/such"));
    assert!(refused("relative", "/x").contains("does not exist"));
    for target in ["x", "/"] {
        assert!(refused("/etc", target).contains("invalid mount path"));
    }
}

#[test]
fn an_empty_home_counts_as_none() {
    let env = |text: &str| with_home(&[text.to_owned()], &user(0));
    assert_eq!(env("HOME="), ["HOME=/home/x"]);
    assert_eq!(env("HOME=/y"), ["HOME=/y"]);
}
