//! What cannot be created: exit codes, texts, and nothing left behind.

use wharf_runtime::shim::Phase;

use crate::support::{Fixture, has_busybox};

/// Creation must fail; the text and code, after checking that the shim can try again.
fn refused(fixture: &mut Fixture) -> (u8, String) {
    let shim = fixture.launch();
    let error = shim.create().unwrap_err();
    assert_eq!(shim.state().unwrap().phase, Phase::Ready);
    assert_eq!(shim.create().unwrap_err().exit_code(), error.exit_code());
    shim.delete().unwrap();
    fixture.nothing_left();
    (error.exit_code(), error.to_string())
}

#[test]
fn commands_that_cannot_be_executed_have_dockers_codes_and_texts() {
    if !has_busybox() {
        return;
    }
    let cases = [
        ("nosuch", 127, r#"exec: "nosuch": executable file not found in $PATH"#),
        ("/no/such", 127, r#"exec: "/no/such": stat /no/such: no such file or directory"#),
        ("/etc/passwd", 126, r#"exec: "/etc/passwd": permission denied"#),
        ("/etc", 126, r#"exec: "/etc": is a directory"#),
    ];
    for (command, code, text) in cases {
        let mut fixture = Fixture::busybox("");
        fixture.spec.args = vec![command.to_owned()];
        assert_eq!(refused(&mut fixture), (code, text.to_owned()));
    }
}

#[test]
fn a_file_that_is_no_program_says_so_in_the_log() {
    if !has_busybox() {
        return;
    }
    let mut fixture = Fixture::busybox("");
    let path = fixture.image().join("bin/odd");
    std::fs::write(&path, [0; 64]).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fixture.spec.args = vec!["odd".to_owned()];
    let (code, output) = fixture.run();
    assert_eq!((code, output.as_str()), (255, "exec /bin/odd: exec format error\n"));
    fixture.nothing_left();
}

#[test]
fn bad_users_mounts_and_directories_are_named() {
    if !has_busybox() {
        return;
    }
    let mut fixture = Fixture::busybox("true");
    fixture.spec.user = "nosuch".to_owned();
    let (code, text) = refused(&mut fixture);
    assert_eq!(code, 125);
    assert!(
        text.contains("unable to find user nosuch: no matching entries in passwd file"),
        "{text}"
    );

    let mut fixture = Fixture::busybox("true");
    fixture.bind("/no/such".as_ref(), "/x", false, false);
    assert!(refused(&mut fixture).1.contains("bind source path does not exist: /no/such"));

    let mut fixture = Fixture::busybox("true");
    fixture.spec.workdir = "/etc/passwd".to_owned();
    assert!(refused(&mut fixture).1.contains("working directory /etc/passwd"));

    // A directory over a file.
    let mut fixture = Fixture::busybox("true");
    let dir = fixture.dir.path().to_owned();
    fixture.bind(&dir, "/etc/passwd", false, false);
    let (code, text) = refused(&mut fixture);
    assert_eq!(code, 125);
    assert!(text.contains("cannot mount") && text.contains("on /etc/passwd"), "{text}");
}

#[test]
fn an_image_whose_dev_is_a_link_is_refused() {
    if !has_busybox() {
        return;
    }
    let mut fixture = Fixture::busybox("true");
    let victim = fixture.dir.path().join("victim");
    std::fs::create_dir(&victim).unwrap();
    std::os::unix::fs::symlink(&victim, fixture.image().join("dev")).unwrap();
    assert!(refused(&mut fixture).1.contains("/dev is not a directory"));
    assert_eq!(std::fs::read_dir(&victim).unwrap().count(), 0);
}

#[test]
fn a_missing_layer_is_named() {
    if !has_busybox() {
        return;
    }
    let mut fixture = Fixture::busybox("true");
    fixture.spec.layers = vec![fixture.dir.path().join("gone")];
    let (code, text) = refused(&mut fixture);
    assert_eq!(code, 125);
    assert!(text.contains("No such file"), "{text}");
}
