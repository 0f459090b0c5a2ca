use std::fs::{self, File};
use std::os::unix::fs::symlink;

use tokio::time::timeout;

use super::*;

/// Far more than any change takes; only a failing test waits for it.
const DEADLINE: Duration = Duration::from_secs(20);
/// Long enough for a change to have been reported.
const NOTHING: Duration = Duration::from_millis(400);

struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts with a file `p.toml` of content `old`, and watches it.
    async fn watched() -> (Self, FileWatcher) {
        let fixture = Self::new();
        fs::write(fixture.path("p.toml"), "old").unwrap();
        let watch = FileWatcher::start(fixture.path("p.toml")).await;
        assert_eq!(*watch.last(), content("old"));
        (fixture, watch)
    }
}

fn content(text: &str) -> FileState {
    FileState::Content(text.as_bytes().to_vec())
}

async fn change(watch: &mut FileWatcher) -> FileState {
    assert!(watch.0.course.watches.is_some(), "these tests need inotify");
    timeout(DEADLINE, watch.changed()).await.expect("a change is reported")
}

async fn assert_nothing(watch: &mut FileWatcher) {
    if let Ok(state) = timeout(NOTHING, watch.changed()).await {
        panic!("reported {state:?}");
    }
}

#[tokio::test]
async fn a_write_in_place_is_noticed() {
    let (fixture, mut watch) = Fixture::watched().await;
    fs::write(fixture.path("p.toml"), "new").unwrap();
    assert_eq!(change(&mut watch).await, content("new"));
}

#[tokio::test]
async fn a_rename_over_the_file_is_noticed() {
    let (fixture, mut watch) = Fixture::watched().await;
    for n in 0..3 {
        fs::write(fixture.path("p.toml.new"), format!("new{n}")).unwrap();
        fs::rename(fixture.path("p.toml.new"), fixture.path("p.toml")).unwrap();
        assert_eq!(change(&mut watch).await, content(&format!("new{n}")));
    }
}

#[tokio::test]
async fn a_symlink_swap_as_kubernetes_does_it_is_noticed() {
    let fixture = Fixture::new();
    let publish = |n: u32| {
        fs::create_dir(fixture.path(&format!("..{n}"))).unwrap();
        fs::write(fixture.path(&format!("..{n}/p.toml")), format!("v{n}")).unwrap();
        symlink(format!("..{n}"), fixture.path("..data_tmp")).unwrap();
        fs::rename(fixture.path("..data_tmp"), fixture.path("..data")).unwrap();
    };
    publish(1);
    symlink("..data/p.toml", fixture.path("p.toml")).unwrap();
    let mut watch = FileWatcher::start(fixture.path("p.toml")).await;
    for n in 2..5 {
        publish(n);
        fs::remove_dir_all(fixture.path(&format!("..{}", n - 1))).unwrap();
        assert_eq!(change(&mut watch).await, content(&format!("v{n}")));
    }
}

#[tokio::test]
async fn an_edit_behind_a_symlink_to_elsewhere_is_noticed() {
    let (fixture, elsewhere) = (Fixture::new(), Fixture::new());
    fs::write(elsewhere.path("real"), "old").unwrap();
    symlink(elsewhere.path("real"), fixture.path("p.toml")).unwrap();
    let mut watch = FileWatcher::start(fixture.path("p.toml")).await;
    fs::write(elsewhere.path("real"), "new").unwrap();
    assert_eq!(change(&mut watch).await, content("new"));
}

#[tokio::test]
async fn deletion_and_return_are_noticed() {
    let (fixture, mut watch) = Fixture::watched().await;
    fs::remove_file(fixture.path("p.toml")).unwrap();
    assert_eq!(change(&mut watch).await, FileState::Missing);
    fs::write(fixture.path("p.toml"), "back").unwrap();
    assert_eq!(change(&mut watch).await, content("back"));
}

#[tokio::test]
async fn a_file_that_was_never_there_is_noticed_when_it_comes() {
    let fixture = Fixture::new();
    let mut watch = FileWatcher::start(fixture.path("a/b/p.toml")).await;
    assert_eq!(*watch.last(), FileState::Missing);
    fs::create_dir(fixture.path("a")).unwrap();
    assert_nothing(&mut watch).await;
    fs::create_dir(fixture.path("a/b")).unwrap();
    fs::write(fixture.path("a/b/p.toml"), "new").unwrap();
    assert_eq!(change(&mut watch).await, content("new"));
}

#[tokio::test]
async fn a_directory_that_is_replaced_is_followed() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.path("etc")).unwrap();
    fs::write(fixture.path("etc/p.toml"), "old").unwrap();
    let mut watch = FileWatcher::start(fixture.path("etc/p.toml")).await;
    fs::rename(fixture.path("etc"), fixture.path("etc.old")).unwrap();
    fs::create_dir(fixture.path("etc")).unwrap();
    fs::write(fixture.path("etc/p.toml"), "new").unwrap();
    assert_eq!(change(&mut watch).await, content("new"));
    fs::write(fixture.path("etc.old/p.toml"), "not ours").unwrap();
    fs::write(fixture.path("etc/p.toml"), "newer").unwrap();
    assert_eq!(change(&mut watch).await, content("newer"));
}

#[tokio::test]
async fn a_directory_that_is_deleted_may_come_back() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.path("etc")).unwrap();
    fs::write(fixture.path("etc/p.toml"), "old").unwrap();
    let mut watch = FileWatcher::start(fixture.path("etc/p.toml")).await;
    fs::remove_dir_all(fixture.path("etc")).unwrap();
    assert_eq!(change(&mut watch).await, FileState::Missing);
    fs::create_dir(fixture.path("etc")).unwrap();
    fs::write(fixture.path("etc/p.toml"), "back").unwrap();
    assert_eq!(change(&mut watch).await, content("back"));
}

/// The watcher must not assume that a directory which looks the same is still watched.
#[tokio::test]
async fn a_directory_that_is_away_for_a_moment_is_watched_again() {
    let fixture = Fixture::new();
    let [etc, away] = ["etc", "away"].map(|name| fixture.path(name));
    fs::create_dir(&etc).unwrap();
    fs::write(fixture.path("etc/p.toml"), "old").unwrap();
    let mut watch = FileWatcher::start(fixture.path("etc/p.toml")).await;
    for n in 0..3 {
        // Moved away and back, it is the same inode; a new directory often gets the old one's
        // number.
        if n % 2 == 0 {
            fs::rename(&etc, &away).unwrap();
            fs::rename(&away, &etc).unwrap();
        } else {
            fs::remove_dir_all(&etc).unwrap();
            fs::create_dir(&etc).unwrap();
        }
        fs::write(fixture.path("etc/p.toml"), format!("first {n}")).unwrap();
        assert_eq!(change(&mut watch).await, content(&format!("first {n}")));
        fs::write(fixture.path("etc/p.toml"), format!("second {n}")).unwrap();
        assert_eq!(change(&mut watch).await, content(&format!("second {n}")));
    }
}

#[tokio::test]
async fn of_a_wrong_file_no_more_is_read_than_tells_that_it_is_too_long() {
    let (fixture, mut watch) = Fixture::watched().await;
    File::create(fixture.path("p.toml")).unwrap().set_len(3 << 30).unwrap();
    let FileState::Content(read) = change(&mut watch).await else { panic!("no content") };
    assert_eq!(read.len() as u64, LARGEST_FILE + 1);
}

#[tokio::test]
async fn two_hundred_rapid_edits_end_with_the_last() {
    let (fixture, mut watch) = Fixture::watched().await;
    let path = fixture.path("p.toml");
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
    assert!(seen < 100, "reported {seen} times");
    assert_nothing(&mut watch).await;
}

#[tokio::test]
async fn a_rewrite_of_the_same_content_is_nothing() {
    let (fixture, mut watch) = Fixture::watched().await;
    fs::write(fixture.path("p.toml"), "old").unwrap();
    assert_nothing(&mut watch).await;
    fs::write(fixture.path("other"), "new").unwrap();
    assert_nothing(&mut watch).await;
}

#[tokio::test]
async fn a_slow_writer_is_not_read_half_way() {
    use std::io::Write;
    let (fixture, mut watch) = Fixture::watched().await;
    let mut file = File::create(fixture.path("p.toml")).unwrap();
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
    // On a machine that stalls longer than the longest wait for a writer, half of the file is
    // right.
    assert!(state == content("whole") || !in_time, "{state:?}");
}

#[tokio::test]
async fn a_dropped_wait_loses_nothing() {
    let (fixture, mut watch) = Fixture::watched().await;
    fs::write(fixture.path("p.toml"), "new").unwrap();
    let state = timeout(DEADLINE, async {
        loop {
            // Shorter than the quiet time, so that each wait is dropped in the middle.
            if let Ok(state) = timeout(QUIET / 3, watch.changed()).await {
                return state;
            }
        }
    });
    assert_eq!(state.await.expect("a change is reported"), content("new"));
}

#[tokio::test]
async fn what_a_reload_by_other_means_has_read_is_not_handed_out() {
    let (fixture, mut watch) = Fixture::watched().await;
    fs::write(fixture.path("p.toml"), "new").unwrap();
    assert_eq!(*watch.catch_up().await, content("new"));
    assert_nothing(&mut watch).await;
}

#[tokio::test]
async fn without_inotify_the_file_is_polled() {
    let (fixture, mut watch) = Fixture::watched().await;
    watch.0.course.watches = None;
    watch.0.next_scan = Instant::now();
    fs::write(fixture.path("p.toml"), "new").unwrap();
    let state = timeout(DEADLINE, watch.changed()).await.expect("the next scan finds it");
    assert_eq!(state, content("new"));
    assert!(watch.0.course.watches.is_some(), "inotify is used again once it is available");
}

#[tokio::test]
async fn a_pipe_in_place_of_the_file_does_not_hang() {
    let (fixture, mut watch) = Fixture::watched().await;
    fs::remove_file(fixture.path("p.toml")).unwrap();
    nix::unistd::mkfifo(&fixture.path("p.toml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let state = change(&mut watch).await;
    assert_eq!(state, FileState::Unreadable("not a regular file".to_owned()));
}

/// Kubernetes replaces a certificate and its key by swapping one link.
#[tokio::test]
async fn several_files_that_change_at_once_are_one_change() {
    let fixture = Fixture::new();
    for version in ["..1", "..2"] {
        fs::create_dir(fixture.path(version)).unwrap();
        for name in ["tls.crt", "tls.key"] {
            fs::write(fixture.path(version).join(name), version).unwrap();
        }
    }
    symlink("..1", fixture.path("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{name}"), fixture.path(name)).unwrap();
    }
    let paths = vec![fixture.path("tls.crt"), fixture.path("tls.key")];
    let mut watches = FilesWatcher::start("these files", paths);
    timeout(DEADLINE, watches.changed()).await.expect("what is there counts as a change at first");
    assert_eq!(watches.last, [content("..1"), content("..1")]);

    symlink("..2", fixture.path("..new")).unwrap();
    fs::rename(fixture.path("..new"), fixture.path("..data")).unwrap();
    timeout(DEADLINE, watches.changed()).await.expect("the swap is noticed");
    assert_eq!(watches.last, [content("..2"), content("..2")]);
    assert!(timeout(NOTHING, watches.changed()).await.is_err());
}

#[tokio::test]
async fn no_files_never_change() {
    let mut watches = FilesWatcher::start("these files", Vec::new());
    assert!(timeout(NOTHING, watches.changed()).await.is_err());
}
