//! Another release takes over: what is steered is served throughout.

use std::fs;
use std::os::fd::AsFd;

use wharf_spec::Proto;

use crate::life::{is_maps, releases};
use crate::scene::{Scene, scene, serve, steered};
use crate::steering::{tcp_floor, wide};

/// Pins what is there by other names, as a release with another layout would have.
fn make_foreign(scene: &Scene) {
    for path in releases(&scene.place) {
        let name = if is_maps(&path) { "maps-other" } else { "other" };
        fs::rename(&path, path.with_file_name(name)).unwrap();
    }
}

#[test]
fn a_range_is_served_until_the_next_release_has_its_sockets() {
    let Some(scene) = scene("handed over") else { return };
    let range = wide(Proto::Tcp, "0.0.0.0");
    let floor = tcp_floor(&scene.host, "0.0.0.0:20000");
    let mut plane = scene.plane();
    plane.apply(&steered([range.clone()])).unwrap();
    plane.set_floor(&range, &[floor.as_fd()]).unwrap();
    serve(floor.try_clone().unwrap(), "floor");
    drop(plane);
    make_foreign(&scene);

    let mut next = scene.plane();
    next.apply(&steered([range.clone()])).unwrap();
    assert!(scene.client.can_connect("10.1.0.2:33333"), "the next has no socket yet");
    next.set_floor(&range, &[floor.as_fd()]).unwrap();
    next.replace_others();
    assert_eq!(releases(&scene.place).len(), 2, "the old is gone");
    assert!(scene.client.can_connect("10.1.0.2:33333"));
}
