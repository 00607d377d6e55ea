use std::path::PathBuf;

use super::*;
use crate::spec::{Device, Security, Tmpfs};

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
    Bind { read_only: true, ..Bind::new(source, target) }
}

fn targets(config: &Value) -> Vec<&str> {
    let mounts = config["mounts"].as_array().unwrap();
    mounts.iter().map(|mount| mount["destination"].as_str().unwrap()).collect()
}

#[test]
fn libcontainer_reads_what_is_written() {
    let dir = tempfile::tempdir().unwrap();
    for layout in [Layout::Unified, Layout::Separate(vec!["/sys/fs/cgroup/devices".into()])] {
        let config = config(&spec(dir.path()), &user(0), Path::new("/r"), &layout).unwrap();
        let read: oci_spec::runtime::Spec = serde_json::from_value(config).unwrap();
        assert_eq!(read.hostname().as_deref(), Some("box"));
        let process = read.process().as_ref().unwrap();
        assert_eq!(process.no_new_privileges(), Some(false));
        assert!(process.env().as_ref().unwrap().contains(&"HOME=/home/x".to_owned()));
        let linux = read.linux().as_ref().unwrap();
        assert!(linux.masked_paths().as_ref().unwrap().contains(&"/proc/kcore".to_owned()));
        assert_eq!(linux.resources().as_ref().unwrap().devices().as_ref().unwrap().len(), 12);
    }
}

#[test]
fn only_root_holds_capabilities_and_mknod_needs_a_device_filter() {
    let caps = |uid, layout: &Layout| Privileges::of(&Security::default(), &user(uid), layout);
    let separate = Layout::Separate(vec!["/sys/fs/cgroup/devices".into()]);
    let root = caps(0, &separate);
    assert_eq!(root.bounding, root.held);
    let other = caps(7, &separate);
    assert_eq!((other.held.len(), &other.bounding), (0, &root.bounding));
    let unified = caps(0, &Layout::Unified).bounding;
    assert!(!unified.contains(&"CAP_MKNOD") && !unified.contains(&"CAP_SYS_ADMIN"), "{unified:?}");
    let privileged = Security { privileged: true, ..Security::default() };
    let all = Privileges::of(&privileged, &user(0), &Layout::Unified);
    assert!(all.bounding.contains(&"CAP_MKNOD") && all.lent().count() == 0);
}

#[test]
fn where_devices_are_not_filtered_their_nodes_lead_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let options = |layout: &Layout, privileged: bool| {
        let mut spec = spec(dir.path());
        spec.security.privileged = privileged;
        let shallow = Bind { shallow: true, ..bind(dir.path(), "/shallow") };
        spec.binds = vec![bind(dir.path(), "/deep"), shallow];
        let config = config(&spec, &user(0), Path::new("/r"), layout).unwrap();
        let of = |target: &str| {
            let mounts = config["mounts"].as_array().unwrap();
            let mount = mounts.iter().find(|mount| mount["destination"] == target).unwrap();
            let options = mount["options"].as_array().unwrap().iter();
            options.filter_map(Value::as_str).any(|option| option.ends_with("nodev"))
        };
        [of("/deep"), of("/shallow")]
    };
    assert_eq!(options(&Layout::Unified, false), [true; 2]);
    assert_eq!(options(&Layout::Unified, true), [false; 2]);
    let mut masked = spec(dir.path());
    masked.binds = vec![bind(Path::new("/dev/null"), "/etc/some.conf")];
    let masked = config(&masked, &user(0), Path::new("/r"), &Layout::Unified).unwrap();
    let mounts = masked["mounts"].as_array().unwrap();
    let mask = mounts.iter().find(|mount| mount["destination"] == "/etc/some.conf").unwrap();
    assert!(!mask["options"].to_string().contains("nodev"), "{mask}");
    let separate = Layout::Separate(vec!["/sys/fs/cgroup/devices".into()]);
    assert_eq!(options(&separate, false), [false; 2]);
}

#[test]
fn a_program_begins_with_the_kernels_limit_of_files_unless_told_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec(dir.path());
    let soft = |spec: &ContainerSpec| {
        let config = config(spec, &user(0), Path::new("/r"), &Layout::Unified).unwrap();
        config["process"]["rlimits"][0]["soft"].as_u64()
    };
    assert_eq!(soft(&spec), Some(1024));
    spec.resources.ulimits = vec!["nofile=77".parse().unwrap()];
    assert_eq!(soft(&spec), Some(77));
}

#[test]
fn a_privileged_container_is_kept_from_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec(dir.path());
    spec.security.privileged = true;
    let config = config(&spec, &user(0), Path::new("/r"), &Layout::Unified).unwrap();
    let linux = &config["linux"];
    assert_eq!((&linux["maskedPaths"], &linux["readonlyPaths"]), (&json!([]), &json!([])));
    assert_eq!(linux["resources"]["devices"], json!([{"allow": true, "access": "rwm"}]));
    let sys = config["mounts"].as_array().unwrap().iter().find(|m| m["destination"] == "/sys");
    assert!(!sys.unwrap()["options"].as_array().unwrap().contains(&json!("ro")));
}

#[test]
fn resources_and_storage_are_said_as_libcontainer_reads_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec(dir.path());
    spec.resources.shm_size = Some(1 << 20);
    spec.resources.ulimits = vec!["nofile=10:20".parse().unwrap(), "core=-1".parse().unwrap()];
    let (source, target) = ("/dev/null".into(), "/dev/nothing".into());
    spec.resources.devices = vec![Device { source, target, access: "r".into() }];
    spec.storage.read_only = true;
    let options = vec!["size=10".to_owned(), "exec".to_owned()];
    spec.storage.tmpfs = vec![Tmpfs { target: "/run".into(), options }];
    spec.security.sysctls = [("kernel.msgmax", "1"), ("net.ipv4.ip_forward", "1")]
        .map(|(k, v)| (k.into(), v.into()))
        .into();
    let config = config(&spec, &user(0), Path::new("/r"), &Layout::Unified).unwrap();
    assert_eq!(config["root"]["readonly"], true);
    assert_eq!(config["linux"]["sysctl"], json!({"kernel.msgmax": "1"}));
    assert_eq!(config["linux"]["devices"][0]["path"], "/dev/nothing");
    assert_eq!(config["linux"]["devices"][0]["minor"], 3);
    let limits = json!([
        {"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20},
        {"type": "RLIMIT_CORE", "soft": u64::MAX, "hard": u64::MAX},
    ]);
    assert_eq!(config["process"]["rlimits"], limits);
    let options = |target: &str| {
        let mounts = config["mounts"].as_array().unwrap();
        mounts.iter().find(|m| m["destination"] == target).unwrap()["options"].clone()
    };
    assert_eq!(options("/run"), json!(["nosuid", "nodev", "mode=1777", "size=10", "exec"]));
    assert!(options("/dev/shm").as_array().unwrap().contains(&json!("size=1048576")));
    let read: oci_spec::runtime::Spec = serde_json::from_value(config.clone()).unwrap();
    assert_eq!(read.root().as_ref().unwrap().readonly(), Some(true));
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
    let config = config(&spec, &user(0), Path::new("/r"), &Layout::Unified).unwrap();
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
