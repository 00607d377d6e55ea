use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use super::*;

/// An image with `/data` in it, a volume for that, and a container.
struct Scene {
    dir: tempfile::TempDir,
    spec: ContainerSpec,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["image/data/sub", "volume/_data", "one", "two"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("image/data/a"), "image").unwrap();
        fs::write(dir.path().join("image/data/sub/b"), "image").unwrap();
        let volume = Bind {
            copy_up: true,
            volume: Some("store".to_owned()),
            ..Bind::new(dir.path().join("volume/_data"), "/data")
        };
        let spec = serde_json::json!({
            "id": "one", "layers": [], "dir": dir.path().join("one"), "args": [], "env": [],
            "workdir": "/", "user": "", "hostname": "one", "binds": [volume], "cgroup": "/one",
            "labels": {},
        });
        Self { spec: serde_json::from_value(spec).unwrap(), dir }
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image/data")
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("volume/_data")
    }

    fn fill(&self) -> Result<()> {
        fill_all(&Root::open(&self.dir.path().join("image")).unwrap(), &self.spec)
    }

    /// What is in the volume, and beside its files.
    fn found(&self) -> (Vec<String>, Vec<String>) {
        (list(&self.data()), list(&self.dir.path().join("volume")))
    }
}

fn list(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

#[test]
fn a_volume_that_was_emptied_stays_empty_until_another_container_is_made() {
    let mut scene = Scene::new();
    scene.fill().unwrap();
    assert_eq!(scene.found(), (strings(&["a", "sub"]), strings(&["_data"])));
    fs::remove_dir_all(scene.data()).unwrap();
    fs::create_dir(scene.data()).unwrap();
    scene.fill().unwrap();
    assert_eq!(scene.found().0, strings(&[]));
    scene.spec.dir = scene.dir.path().join("two");
    scene.fill().unwrap();
    assert_eq!(scene.found().0, strings(&["a", "sub"]));
}

/// On a file system of its own, which only this thread can see.
#[test]
fn a_full_disk_leaves_nothing_of_a_volume_and_the_next_start_fills_it() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: mounting a file system needs root");
        return;
    }
    let alone = std::thread::spawn(|| {
        wharf_host::netns::unshare_mount_private().unwrap();
        let scene = Scene::new();
        let volume = scene.dir.path().join("volume");
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("none", &volume, "tmpfs", flags, c"size=1m").unwrap();
        fs::create_dir(scene.data()).unwrap();
        fs::write(scene.image().join("large"), vec![1; 2 << 20]).unwrap();
        let error = scene.fill().unwrap_err();
        assert!(error.is_disk_full(), "{error}");
        assert_eq!(scene.found(), (strings(&[]), strings(&["_data"])));
        rustix::mount::mount_remount(&volume, flags, c"size=4m").unwrap();
        scene.fill().unwrap();
        assert_eq!(scene.found().0, strings(&["a", "large", "sub"]));
    });
    alone.join().unwrap();
}

#[test]
fn a_copy_that_was_cut_off_is_made_anew() {
    let scene = Scene::new();
    fs::create_dir(scene.dir.path().join("volume/_data.filling")).unwrap();
    fs::write(scene.dir.path().join("volume/_data.filling/a"), "ima").unwrap();
    scene.fill().unwrap();
    assert_eq!(scene.found(), (strings(&["a", "sub"]), strings(&["_data"])));
    assert_eq!(fs::read_to_string(scene.data().join("a")).unwrap(), "image");
}

#[test]
fn a_move_that_was_cut_off_is_ended_and_what_is_there_stays() {
    let scene = Scene::new();
    fs::rename(scene.image(), scene.dir.path().join("volume/_data.filled")).unwrap();
    fs::write(scene.data().join("a"), "a container's").unwrap();
    // Also by a container that has looked at its volumes before.
    fs::write(scene.dir.path().join("one").join(NOTE), "").unwrap();
    scene.fill().unwrap();
    assert_eq!(scene.found(), (strings(&["a", "sub"]), strings(&["_data"])));
    assert_eq!(fs::read_to_string(scene.data().join("a")).unwrap(), "a container's");
}

#[test]
fn two_that_start_at_once_fill_a_volume_once() {
    let scene = Scene::new();
    for number in 0..200 {
        fs::create_dir(scene.image().join(number.to_string())).unwrap();
    }
    std::thread::scope(|scope| {
        let fills: Vec<_> = (0..4).map(|_| scope.spawn(|| scene.fill())).collect();
        fills.into_iter().for_each(|fill| fill.join().unwrap().unwrap());
    });
    assert_eq!(list(&scene.data()).len(), 202);
}

#[test]
fn who_waits_for_a_volume_gives_up_in_the_end() {
    let scene = Scene::new();
    let bind = scene.spec.binds.first().unwrap();
    let _held = Volume::lock(bind, LOCK_LIMIT).unwrap();
    let error = Volume::lock(bind, Duration::from_millis(20)).err().unwrap().to_string();
    assert!(error.starts_with("the volume store has been filled by another container"), "{error}");
}

#[test]
fn pipes_have_their_mode_from_the_beginning() {
    let scene = Scene::new();
    let fifo = scene.image().join("fifo");
    let (kind, mode) = (rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600));
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, mode, 0).unwrap();
    fs::set_permissions(&fifo, fs::Permissions::from_mode(0o666)).unwrap();
    scene.fill().unwrap();
    let copy = fs::symlink_metadata(scene.data().join("fifo")).unwrap();
    assert!(copy.file_type().is_fifo());
    assert_eq!(copy.mode() & 0o777, 0o666);
}
