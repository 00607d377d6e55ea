//! scratch
#[test]
fn leak() {
    let lab = wharf_lab::Lab::new("leak").unwrap();
    let host = lab.host("h").unwrap();
    let w = host.wharf(env!("CARGO_BIN_EXE_wharf")).unwrap();
    w.ok(["run", "-d", "--name", "web", "wharf/whoami"]);
    let a = w.snapshot().unwrap();
    for _ in 0..3 { w.ok(["exec", "web", "/wharf", "version"]); }
    eprintln!("{:#?}", a.differences(&w.snapshot().unwrap()));
    let _ = w.run(["exec", "web", "/nosuch"]);
    eprintln!("{:#?}", a.differences(&w.snapshot().unwrap()));
}
