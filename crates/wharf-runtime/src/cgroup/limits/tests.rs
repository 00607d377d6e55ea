use super::*;

const ALL: Abilities = Abilities { memory: true, swap: true, cpu: true, cpuset: true, pids: true };

fn everything() -> Limits {
    Limits {
        memory: Some(64 << 20),
        memory_swap: Some(96 << 20),
        memory_reservation: Some(32 << 20),
        cpu_quota: Some(50_000),
        cpu_period: Some(100_000),
        cpu_shares: Some(1_024),
        cpuset_cpus: Some("0".into()),
        cpuset_mems: Some("0".into()),
        pids: Some(100),
    }
}

fn lines(settings: &[Setting]) -> Vec<String> {
    settings.iter().map(|s| format!("{} {}", s.file, s.value)).collect()
}

#[test]
fn one_tree_and_many_say_the_same_in_their_own_words() {
    let v2 = [
        "memory.max 67108864",
        "memory.swap.max 33554432",
        "memory.low 33554432",
        "cpu.weight 39",
        "cpu.max 50000 100000",
        "cpuset.cpus 0",
        "cpuset.mems 0",
        "pids.max 100",
    ];
    assert_eq!(lines(&unified(&everything())), v2);
    let v1 = [
        "memory.limit_in_bytes 67108864",
        "memory.memsw.limit_in_bytes 100663296",
        "memory.soft_limit_in_bytes 33554432",
        "cpu.shares 1024",
        "cpu.cfs_period_us 100000",
        "cpu.cfs_quota_us 50000",
        "cpuset.cpus 0",
        "cpuset.mems 0",
        "pids.max 100",
    ];
    assert_eq!(lines(&separate(&everything())), v1);
}

#[test]
fn no_limit_is_said_as_the_kernel_says_it() {
    let limits = Limits {
        memory: Some(64 << 20),
        memory_swap: Some(-1),
        cpu_quota: Some(-1),
        pids: Some(-1),
        ..Limits::default()
    };
    let v2 = ["memory.max 67108864", "memory.swap.max max", "cpu.max max 100000", "pids.max max"];
    assert_eq!(lines(&unified(&limits)), v2);
    let v1 = [
        "memory.limit_in_bytes 67108864",
        "memory.memsw.limit_in_bytes -1",
        "cpu.cfs_quota_us -1",
        "pids.max max",
    ];
    assert_eq!(lines(&separate(&limits)), v1);
    assert!(unified(&Limits::default()).is_empty() && separate(&Limits::default()).is_empty());
    assert_eq!((weight(2), weight(262_144)), (1, 10_000));
}

#[test]
fn what_makes_no_sense_is_refused_with_dockers_text() {
    let refusal = |change: &dyn Fn(&mut Limits)| {
        let mut limits = everything();
        change(&mut limits);
        ALL.check(&limits).unwrap_err().to_string()
    };
    ALL.check(&everything()).unwrap();
    type Change<'a> = &'a dyn Fn(&mut Limits);
    let cases: [(Change<'_>, &str); 9] = [
        (&|l| l.memory = Some(1 << 20), "Minimum memory limit allowed is 6MB"),
        (&|l| l.memory = None, "You should always set the Memory limit"),
        (&|l| l.memory_swap = Some(1 << 20), "Minimum memoryswap limit should be larger"),
        (&|l| l.memory_reservation = Some(1 << 30), "can not be less than memory reservation"),
        (&|l| l.cpu_period = Some(1), "CPU cfs period"),
        (&|l| l.cpu_quota = Some(1), "CPU cfs quota"),
        (&|l| l.cpu_shares = Some(1), "use 2 to 262144"),
        (&|l| l.cpuset_cpus = Some("2-1".into()), "Invalid value 2-1 for cpuset cpus"),
        (&|l| l.cpuset_cpus = Some("9999".into()), "Requested CPUs are not available"),
    ];
    for (change, text) in cases {
        assert!(refusal(change).contains(text), "{text}: {}", refusal(change));
    }
}

#[test]
fn what_a_host_cannot_do_is_refused_with_the_reason() {
    let refused =
        |abilities: Abilities, limits: &Limits| abilities.check(limits).unwrap_err().to_string();
    let text = refused(Abilities { swap: false, ..ALL }, &everything());
    assert!(text.contains("cannot limit swap") && text.contains("swap accounting"), "{text}");
    let text = refused(Abilities { pids: false, ..ALL }, &everything());
    assert!(text.contains("the pids controller"), "{text}");
    // What is not asked for need not be there.
    let none = Abilities { memory: false, swap: false, cpu: false, cpuset: false, pids: false };
    none.check(&Limits::default()).unwrap();
    none.check(&Limits { pids: Some(-1), ..Limits::default() }).unwrap();
}
