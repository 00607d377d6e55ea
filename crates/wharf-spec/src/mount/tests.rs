use proptest::prelude::*;

use super::*;

fn bind(source: &str, create: bool) -> MountKind {
    MountKind::Bind { source: source.into(), create, recursive: true, deep: true }
}

fn volume(name: Option<&str>, copy: bool) -> MountKind {
    MountKind::Volume { name: name.map(str::to_owned), copy, labels: BTreeMap::new() }
}

fn refusal(result: Result<Mount, SpecError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn volumes_have_three_kinds_of_source() {
    let of = |text: &str| Mount::from_volume(text).unwrap();
    assert_eq!(
        of("/a:/b:ro"),
        Mount { target: "/b".into(), read_only: true, kind: bind("/a", true) }
    );
    assert_eq!(of("./a:/b").kind, bind("./a", true));
    assert_eq!(of("/a:/b:rprivate").kind, bind("/a", true));
    assert_eq!(
        of("db:/var//lib/"),
        Mount { target: "/var/lib".into(), read_only: false, kind: volume(Some("db"), true) }
    );
    assert_eq!(of("db:/x:nocopy").kind, volume(Some("db"), false));
    assert_eq!(of("/cache").kind, volume(None, true));
    assert_eq!(of("/..cache").target, "/..cache", "two dots begin a name like any other");
}

#[test]
fn what_a_volume_cannot_be_is_refused() {
    for (text, reason) in [
        ("a:b", "must be absolute"),
        ("/a:/b:z", "SELinux"),
        ("/a:/b:rshared", "propagation \"rshared\" is not available"),
        ("/a:/b:nocopy", "option of volumes"),
        ("db:/b:rprivate", "option of binds"),
        ("/a:/", "destination can't be '/'"),
        ("/a:/b/../c", "without `..`"),
        ("a/b:/c", "local volume name"),
        ("/a:/b:ro:x", "use [SOURCE:]TARGET"),
        ("/a:/proc/x", "/proc belongs"),
        ("", "must be absolute"),
        (":/a", "local volume name"),
    ] {
        let error = refusal(Mount::from_volume(text));
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn fields_say_the_same_in_words() {
    let of = |text: &str| Mount::from_fields(text).unwrap();
    assert_eq!(of("type=bind,source=/a,target=/b").kind, bind("/a", false));
    assert!(of("type=bind,src=/a,dst=/b,ro").read_only);
    assert!(!of("type=bind,src=/a,dst=/b,readonly=false").read_only);
    assert_eq!(of("source=db,destination=/b").kind, volume(Some("db"), true));
    assert_eq!(of("type=volume,target=/b,volume-nocopy").kind, volume(None, false));
    assert_eq!(
        of("type=bind,src=/a,dst=/b,bind-recursive=disabled").kind,
        MountKind::Bind { source: "/a".into(), create: false, recursive: false, deep: false }
    );
    assert_eq!(
        of("type=tmpfs,dst=/t,tmpfs-size=64m,tmpfs-mode=1770").kind,
        MountKind::Tmpfs { options: vec!["size=67108864".into(), "mode=1770".into()] }
    );
    assert_eq!(of("type=bind,\"src=/a,b\",dst=/c").kind, bind("/a,b", false));
    let MountKind::Volume { labels, .. } = of("dst=/a,volume-label=x=y,volume-label=z").kind else {
        panic!("no volume")
    };
    assert_eq!(labels, BTreeMap::from([("x".into(), "y".into()), ("z".into(), String::new())]));
}

#[test]
fn fields_that_cannot_be_honoured_are_refused() {
    for (text, reason) in [
        ("", "must be a key=value pair"),
        ("type=bind,target=/b", "source is required"),
        ("type=bind,source=/a", "target is required"),
        ("type=nfs,target=/b", "unknown mount type"),
        ("type=image,source=x,target=/b", "not available"),
        ("type=tmpfs,source=/a,target=/b", "has no source"),
        ("type=volume,target=/b,tmpfs-size=1m", "cannot mix 'tmpfs-*' options"),
        ("type=tmpfs,target=/b,volume-nocopy", "cannot mix 'volume-*' options"),
        ("type=bind,source=/a,target=/b,bind-propagation=rslave", "is not available"),
        ("type=bind,source=/a,target=/b,consistency=cached", "consistency is not available"),
        ("target=/b,volume-driver=nfs", "volume driver \"nfs\""),
        ("target=/b,colour=red", "unexpected key 'colour'"),
        ("target=/b,readonly=maybe", "invalid value for readonly"),
        ("\"target=/b", "quote is not closed"),
        ("target=/b\"", "around the whole field"),
        ("type=tmpfs,target=/b,tmpfs-mode=9", "octal"),
    ] {
        let error = refusal(Mount::from_fields(text));
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn a_tmpfs_takes_what_the_kernel_takes() {
    let of = |text: &str| Mount::from_tmpfs(text).unwrap();
    assert_eq!(of("/run").kind, MountKind::Tmpfs { options: vec![] });
    let options = ["size=65536", "mode=755", "uid=5", "exec", "nr_inodes=2048"];
    assert_eq!(
        of("/run:size=64k,mode=0755,uid=5,exec,nr_inodes=2k").kind,
        MountKind::Tmpfs { options: options.map(str::to_owned).to_vec() }
    );
    assert!(of("/run:rw,ro").read_only);
    for text in ["run", "/", "/a:size=x", "/a:huge", "/a:mode=8", "/a:uid=-1", "/a:size=0%"] {
        assert!(Mount::from_tmpfs(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parsers_panic(text in "[a-z/:=,\" .%0-9-]{0,60}") {
        for parse in [Mount::from_fields, Mount::from_volume, Mount::from_tmpfs] {
            if let Ok(mount) = parse(&text) {
                let mut names = mount.target.split('/');
                prop_assert_eq!(names.next(), Some(""));
                prop_assert!(names.all(|name| !matches!(name, "" | "." | "..")));
            }
        }
    }
}
