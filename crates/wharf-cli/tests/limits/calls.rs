//! System calls that a container may not make, made from inside.

use super::site::Site;

/// Perl calls the kernel by number; the host's, with what it needs, is mounted into the container.
const PERL: [&str; 6] =
    ["-v", "/usr:/usr:ro", "-v", "/usr/lib:/lib:ro", "-v", "/usr/lib64:/lib64:ro"];
const EPERM: i32 = 1;
const ENOSYS: i32 = 38;

/// A call with arguments for which the kernel, were it asked, would have another answer.
struct Call {
    name: &'static str,
    number: u32,
    arguments: &'static str,
    answer: i32,
}

const fn call(name: &'static str, number: u32, arguments: &'static str, answer: i32) -> Call {
    Call { name, number, arguments, answer }
}

/// All of x86-64. None of them needs a privilege to be answered otherwise.
const FORBIDDEN: [Call; 9] = [
    call("add_key", 248, "0, 0, 0, 0, 0", EPERM),
    call("request_key", 249, "0, 0, 0, 0", EPERM),
    call("keyctl", 250, "99, 0, 0, 0, 0", EPERM),
    call("unshare", 272, "0x10000000", EPERM),
    call("userfaultfd", 323, "0xffff", EPERM),
    call("io_uring_setup", 425, "0, 0", EPERM),
    call("clone3", 435, "0, 0", ENOSYS),
    call("personality", 135, "0x0040000", EPERM),
    call("socket", 41, "40, 1, 0", EPERM),
];

fn can_run() -> bool {
    let there = std::path::Path::new("/usr/bin/perl").exists() && cfg!(target_arch = "x86_64");
    if !there {
        eprintln!("SKIPPED: needs perl, and the numbers of x86-64");
    }
    there
}

fn script(call: &Call) -> String {
    let Call { number, arguments, .. } = call;
    format!("/usr/bin/perl -e '$r = syscall({number}, {arguments}); print $r < 0 ? $!+0 : 0'")
}

#[test]
fn forbidden_calls_are_refused_by_the_filter_and_by_nothing_else() {
    let Some(site) = Site::new("forbidden calls").filter(|_| can_run()) else { return };
    site.detached("plain", &PERL, "sleep 1000");
    let open = [&PERL[..], &["--security-opt", "seccomp=unconfined"]].concat();
    site.detached("open", &open, "sleep 1000");
    for call in &FORBIDDEN {
        let answer = |name: &str| site.exec(name, &script(call)).parse::<i32>().unwrap();
        assert_eq!(answer("plain"), call.answer, "{}", call.name);
        assert_ne!(answer("open"), call.answer, "{} without a filter", call.name);
    }
    // The first process of a container is under the filter as commands run later are.
    let call = &FORBIDDEN[0];
    assert_eq!(site.says(&PERL, &script(call)), call.answer.to_string());
    let user = [&PERL[..], &["-u", "alice"]].concat();
    assert_eq!(site.says(&user, &script(call)), call.answer.to_string());
    let under_init = [&PERL[..], &["--init"]].concat();
    assert_eq!(site.says(&under_init, &script(call)), call.answer.to_string());
    let no_new = [&PERL[..], &["--security-opt", "no-new-privileges"]].concat();
    assert_eq!(site.says(&no_new, &script(call)), call.answer.to_string());
}

#[test]
fn a_capability_opens_the_calls_it_is_for() {
    let Some(site) = Site::new("opened calls").filter(|_| can_run()) else { return };
    // set_mempolicy with a mode that is none.
    let policy = call("set_mempolicy", 238, "9999, 0, 0", EPERM);
    assert_eq!(site.says(&PERL, &script(&policy)), EPERM.to_string());
    let nice = [&PERL[..], &["--cap-add", "SYS_NICE"]].concat();
    assert_eq!(site.says(&nice, &script(&policy)), "22");
}

#[test]
fn a_profile_of_ones_own_is_in_force() {
    let Some(site) = Site::new("own profile") else { return };
    let profile = site.lab.directory().join("profile.json");
    let text = r#"{"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}"#;
    std::fs::write(&profile, text).unwrap();
    let option = format!("seccomp={}", profile.display());
    let output = site.run(&["--security-opt", &option], "mkdir /tmp/x");
    assert!(output.stderr.contains("No space left on device"), "{output:?}");
    site.detached("box", &["--security-opt", &option], "sleep 1000");
    let output = site.wharf.run(["exec", "box", "mkdir", "/tmp/x"]).unwrap();
    assert!(output.stderr.contains("No space left on device"), "{output:?}");
    site.wharf.ok(["rm", "-f", "box"]);
    std::fs::write(&profile, r#"{"defaultAction": "SCMP_ACT_TRACE"}"#).unwrap();
    site.refuses(&["--security-opt", &option], "SCMP_ACT_TRACE is not available");
    std::fs::write(&profile, "not json").unwrap();
    site.refuses(&["--security-opt", &option], "the seccomp profile cannot be used");
}
