use std::os::unix::fs::PermissionsExt;

use super::*;

/// Why a program with this body does not become a relay.
fn reason(body: &str) -> String {
    let dir = tempfile::TempDir::new().unwrap();
    fs::write(dir.path().join("relay.log"), "wharf: what was wrong last year\n").unwrap();
    let program = dir.path().join("program");
    fs::write(&program, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    ensure(dir.path(), &program).unwrap_err().to_string()
}

#[test]
fn a_relay_that_ends_at_its_start_is_told_with_its_own_words_or_without() {
    let told = reason("echo 'wharf: no room' >&2; echo 'another INFO of others' >&2; exit 1");
    assert_eq!(told, "the relay did not start: no room");
    let silent = reason("exit 1");
    let without = "the relay did not start: it ended without saying why; see ";
    assert!(silent.starts_with(without) && silent.ends_with("relay.log"), "{silent}");
}
