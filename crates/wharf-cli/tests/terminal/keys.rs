//! Detaching and attaching again.

use super::site::Site;

#[test]
fn detaching_leaves_the_program_running_and_attaching_finds_it() {
    let Some(site) = Site::new("detach") else { return };
    let mut shell = site.shell(&["--name", "box"]);
    shell.types("X=kept; echo s''et\r");
    shell.shows("set\r\n");
    shell.types("\x10\x11");
    assert_eq!(shell.ends(), 0);
    assert_eq!(site.wharf.state("box").as_deref(), Some("running"));

    let mut again = site.attached(&[], "box");
    again.types("echo $X; stty size\r");
    again.shows("kept\r\n24 80\r\n");
    again.types("exit 4\r");
    assert_eq!(again.ends(), 4);
    let refused = site.wharf.fails(["attach", "box"]);
    assert!(
        refused.stderr.contains("you cannot attach to a stopped container, start it first"),
        "{refused:?}"
    );

    // Started again, from a terminal or without.
    let mut started = site.on_terminal(&["start", "-ai", "box"]);
    started.shows("ready> ");
    started.types("\x10\x11");
    assert_eq!(started.ends(), 0);
    site.wharf.ok(["rm", "-f", "box"]);
}

#[test]
fn the_keys_can_be_chosen_and_the_usual_ones_are_typed_then() {
    let Some(site) = Site::new("detach keys") else { return };
    let mut shell = site.shell(&["--name", "box", "--detach-keys", "ctrl-e,x"]);
    shell.types("\x10\x11echo st''ill\r");
    shell.shows("still\r\n");
    shell.types("\x05x");
    assert_eq!(shell.ends(), 0);
    let attached = site.attached(&["--detach-keys=Q"], "box");
    attached.types("Q");
    assert_eq!(attached.ends(), 0);
    assert_eq!(site.wharf.state("box").as_deref(), Some("running"));
    let refused = site.wharf.fails(["attach", "--detach-keys=ctrl-?", "box"]);
    assert!(refused.stderr.contains("invalid detach keys (ctrl-?) provided"), "{refused:?}");
}
