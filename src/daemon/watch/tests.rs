use std::fs::{self, File};
use std::os::unix::fs::symlink;

use tokio::time::timeout;

use super::*;

/// Far more than any change takes; only a failing test waits for it.
const DEADLINE: Duration = Duration::from_secs(20);
/// Long enough that a change would have been handed out.
const NOTHING: Duration = Duration::from_millis(400);

struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts with a file `p.toml` of content `old`, and watches it.
    async fn watched() -> (Self, FileWatcher) {
        let scene = Self::new();
        fs::write(scene.path("p.toml"), "old").unwrap();
        let watch = FileWatcher::start(scene.path("p.toml")).await;
        assert_eq!(*watch.last(), content("old"));
        (scene, watch)
    }
}

fn content(text: &str) -> FileState {
    FileState::Content(text.as_bytes().to_vec())
}

async fn change(watch: &mut FileWatcher) -> FileState {
    assert!(watch.0.course.watches.is_some(), "these tests need inotify");
    timeout(DEADLINE, watch.changed()).await.expect("a change is handed out")
}

async fn assert_nothing(watch: &mut FileWatcher) {
    if let Ok(state) = timeout(NOTHING, watch.changed()).await {
        panic!("handed out {state:?}");
    }
}

#[tokio::test]
async fn a_write_in_place_is_noticed() {
    let (scene, mut watch) = Scene::watched().await;
    fs::write(scene.path("p.toml"), "new").unwrap();
    assert_eq!(change(&mut watch).await, content("new"));
}

#[tokio::test]
async fn a_rename_over_the_file_is_noticed() {
    let (scene, mut watch) = Scene::watched().await;
    for n in 0..3 {
        fs::write(scene.path("p.toml.new"), format!("new{n}")).unwrap();
        fs::rename(scene.path("p.toml.new"), scene.path("p.toml")).unwrap();
        assert_eq!(change(&mut watch).await, content(&format!("new{n}")));
    }
}

#[tokio::test]
async fn a_symlink_swap_as_kubernetes_does_it_is_noticed() {
    let scene = Scene::new();
    let publish = |n: u32| {
        fs::create_dir(scene.path(&format!("..{n}"))).unwrap();
        fs::write(scene.path(&format!("..{n}/p.toml")), format!("v{n}")).unwrap();
        symlink(format!("..{n}"), scene.path("..data_tmp")).unwrap();
        fs::rename(scene.path("..data_tmp"), scene.path("..data")).unwrap();
    };
    publish(1);
    symlink("..data/p.toml", scene.path("p.toml")).unwrap();
    let mut watch = FileWatcher::start(scene.path("p.toml")).await;
    for n in 2..5 {
        publish(n);
        fs::remove_dir_all(scene.path(&format!("..{}", n - 1))).unwrap();
        assert_eq!(change(&mut watch).await, content(&format!("v{n}")));
    }
}

#[tokio::test]
async fn an_edit_behind_a_symlink_to_elsewhere_is_noticed() {
    let (scene, elsewhere) = (Scene::new(), Scene::new());
    fs::write(elsewhere.path("real"), "old").unwrap();
    symlink(elsewhere.path("real"), scene.path("p.toml")).unwrap();
    let mut watch = FileWatcher::start(scene.path("p.toml")).await;
    fs::write(elsewhere.path("real"), "new").unwrap();
    assert_eq!(change(&mut watch).await, content("new"));
}

#[tokio::test]
async fn deletion_and_return_are_noticed() {
    let (scene, mut watch) = Scene::watched().await;
    fs::remove_file(scene.path("p.toml")).unwrap();
    assert_eq!(change(&mut watch).await, FileState::Missing);
    fs::write(scene.path("p.toml"), "back").unwrap();
    assert_eq!(change(&mut watch).await, content("back"));
}

#[tokio::test]
async fn a_file_that_was_never_there_is_noticed_when_it_comes() {
    let scene = Scene::new();
    let mut watch = FileWatcher::start(scene.path("a/b/p.toml")).await;
    assert_eq!(*watch.last(), FileState::Missing);
    fs::create_dir(scene.path("a")).unwrap();
    assert_nothing(&mut watch).await;
    fs::create_dir(scene.path("a/b")).unwrap();
    fs::write(scene.path("a/b/p.toml"), "new").unwrap();
    assert_eq!(change(&mut watch).await, content("new"));
}

#[tokio::test]
async fn a_directory_that_is_replaced_is_followed() {
    let scene = Scene::new();
    fs::create_dir(scene.path("etc")).unwrap();
    fs::write(scene.path("etc/p.toml"), "old").unwrap();
    let mut watch = FileWatcher::start(scene.path("etc/p.toml")).await;
    fs::rename(scene.path("etc"), scene.path("etc.old")).unwrap();
    fs::create_dir(scene.path("etc")).unwrap();
    fs::write(scene.path("etc/p.toml"), "new").unwrap();
    assert_eq!(change(&mut watch).await, content("new"));
    fs::write(scene.path("etc.old/p.toml"), "not ours").unwrap();
    fs::write(scene.path("etc/p.toml"), "newer").unwrap();
    assert_eq!(change(&mut watch).await, content("newer"));
}

#[tokio::test]
async fn a_directory_that_is_deleted_may_come_back() {
    let scene = Scene::new();
    fs::create_dir(scene.path("etc")).unwrap();
    fs::write(scene.path("etc/p.toml"), "old").unwrap();
    let mut watch = FileWatcher::start(scene.path("etc/p.toml")).await;
    fs::remove_dir_all(scene.path("etc")).unwrap();
    assert_eq!(change(&mut watch).await, FileState::Missing);
    fs::create_dir(scene.path("etc")).unwrap();
    fs::write(scene.path("etc/p.toml"), "back").unwrap();
    assert_eq!(change(&mut watch).await, content("back"));
}

/// The watch must not trust that a directory which looks the same is still watched.
#[tokio::test]
async fn a_directory_that_is_away_for_a_moment_is_watched_again() {
    let scene = Scene::new();
    let [etc, away] = ["etc", "away"].map(|name| scene.path(name));
    fs::create_dir(&etc).unwrap();
    fs::write(scene.path("etc/p.toml"), "old").unwrap();
    let mut watch = FileWatcher::start(scene.path("etc/p.toml")).await;
    for n in 0..3 {
        // Moved away and back it is the same inode; a new one often gets the number of the old one.
        if n % 2 == 0 {
            fs::rename(&etc, &away).unwrap();
            fs::rename(&away, &etc).unwrap();
        } else {
            fs::remove_dir_all(&etc).unwrap();
            fs::create_dir(&etc).unwrap();
        }
        fs::write(scene.path("etc/p.toml"), format!("first {n}")).unwrap();
        assert_eq!(change(&mut watch).await, content(&format!("first {n}")));
        fs::write(scene.path("etc/p.toml"), format!("second {n}")).unwrap();
        assert_eq!(change(&mut watch).await, content(&format!("second {n}")));
    }
}

#[tokio::test]
async fn of_a_wrong_file_no_more_is_read_than_tells_that_it_is_too_long() {
    let (scene, mut watch) = Scene::watched().await;
    File::create(scene.path("p.toml")).unwrap().set_len(3 << 30).unwrap();
    let FileState::Content(read) = change(&mut watch).await else { panic!("no content") };
    assert_eq!(read.len() as u64, LARGEST_FILE + 1);
}

#[tokio::test]
async fn two_hundred_rapid_edits_end_with_the_last() {
    let (scene, mut watch) = Scene::watched().await;
    let path = scene.path("p.toml");
    let writer = std::thread::spawn(move || {
        for n in 0..200 {
            fs::write(&path, format!("edit {n}")).unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let mut seen = 0;
    while change(&mut watch).await != content("edit 199") {
        seen += 1;
    }
    writer.join().unwrap();
    assert!(seen < 100, "handed out {seen} times");
    assert_nothing(&mut watch).await;
}

#[tokio::test]
async fn a_rewrite_of_the_same_content_is_nothing() {
    let (scene, mut watch) = Scene::watched().await;
    fs::write(scene.path("p.toml"), "old").unwrap();
    assert_nothing(&mut watch).await;
    fs::write(scene.path("other"), "new").unwrap();
    assert_nothing(&mut watch).await;
}

#[tokio::test]
async fn a_slow_writer_is_not_read_half_way() {
    use std::io::Write;
    let (scene, mut watch) = Scene::watched().await;
    let mut file = File::create(scene.path("p.toml")).unwrap();
    let begun = Instant::now();
    let (in_time, state) = tokio::join!(
        async {
            tokio::time::sleep(4 * QUIET).await;
            file.write_all(b"whole").unwrap();
            drop(file);
            begun.elapsed() < LONGEST_WAIT
        },
        change(&mut watch)
    );
    // On a machine that stalls us for longer than any writer is waited for, the half is right.
    assert!(state == content("whole") || !in_time, "{state:?}");
}

#[tokio::test]
async fn a_dropped_wait_loses_nothing() {
    let (scene, mut watch) = Scene::watched().await;
    fs::write(scene.path("p.toml"), "new").unwrap();
    let state = timeout(DEADLINE, async {
        loop {
            // Shorter than the quiet time, so that each wait is dropped in the middle.
            if let Ok(state) = timeout(QUIET / 3, watch.changed()).await {
                return state;
            }
        }
    });
    assert_eq!(state.await.expect("a change is handed out"), content("new"));
}

#[tokio::test]
async fn what_a_reload_by_other_means_has_read_is_not_handed_out() {
    let (scene, mut watch) = Scene::watched().await;
    fs::write(scene.path("p.toml"), "new").unwrap();
    assert_eq!(*watch.catch_up().await, content("new"));
    assert_nothing(&mut watch).await;
}

#[tokio::test]
async fn without_inotify_the_file_is_polled() {
    let (scene, mut watch) = Scene::watched().await;
    watch.0.course.watches = None;
    watch.0.next_scan = Instant::now();
    fs::write(scene.path("p.toml"), "new").unwrap();
    let state = timeout(DEADLINE, watch.changed()).await.expect("the next look finds it");
    assert_eq!(state, content("new"));
    assert!(watch.0.course.watches.is_some(), "inotify is taken up again when it can be had");
}

#[tokio::test]
async fn a_pipe_in_place_of_the_file_does_not_hang() {
    let (scene, mut watch) = Scene::watched().await;
    fs::remove_file(scene.path("p.toml")).unwrap();
    nix::unistd::mkfifo(&scene.path("p.toml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let state = change(&mut watch).await;
    assert_eq!(state, FileState::Unreadable("not a regular file".to_owned()));
}

/// Kubernetes puts a certificate and its key in place by swapping one link.
#[tokio::test]
async fn several_files_that_change_at_once_are_one_change() {
    let scene = Scene::new();
    for version in ["..1", "..2"] {
        fs::create_dir(scene.path(version)).unwrap();
        for name in ["tls.crt", "tls.key"] {
            fs::write(scene.path(version).join(name), version).unwrap();
        }
    }
    symlink("..1", scene.path("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{name}"), scene.path(name)).unwrap();
    }
    let paths = vec![scene.path("tls.crt"), scene.path("tls.key")];
    let mut watches = FilesWatcher::start("these files", paths);
    timeout(DEADLINE, watches.changed()).await.expect("what is there counts as a change at first");
    assert_eq!(watches.last, [content("..1"), content("..1")]);

    symlink("..2", scene.path("..new")).unwrap();
    fs::rename(scene.path("..new"), scene.path("..data")).unwrap();
    timeout(DEADLINE, watches.changed()).await.expect("the swap is noticed");
    assert_eq!(watches.last, [content("..2"), content("..2")]);
    assert!(timeout(NOTHING, watches.changed()).await.is_err());
}

#[tokio::test]
async fn no_files_never_change() {
    let mut watches = FilesWatcher::start("these files", Vec::new());
    assert!(timeout(NOTHING, watches.changed()).await.is_err());
}
