//! Notices that files changed, however they were changed: the settings file, and those that it
//! names for TLS.
//!
//! An edit can be a write in place, a rename over the file, or the swap of a symlink anywhere on
//! the way to it (Kubernetes swaps `..data`); file and directories can vanish and come back. So
//! what is watched is the *directory* of every step of the path (see `trail`), and events are only
//! hints: after each, once it has been quiet for a moment, the path is walked anew, the file is
//! read, and what counts is whether its content differs from what was handed out last.
//!
//! When inotify cannot be had (its per-user limits are low on many machines), the file is read each
//! second instead. With it, it is still read now and then, for mounts and network file systems tell
//! nothing.

mod events;
mod trail;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::config::{LARGEST_FILE, regular_file};
use events::DirWatches;
use trail::Trail;

/// A change is read when nothing more has happened for this long.
const QUIET: Duration = Duration::from_millis(100);
/// A change is read this long after its first event, however much goes on.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Time between two scans without inotify.
const POLL_UNWATCHED: Duration = Duration::from_secs(1);
/// Time between two scans beside inotify.
const POLL_WATCHED: Duration = Duration::from_secs(30);
/// The longest file for TLS, in bytes; `tls` refuses what is longer.
const LARGEST: u64 = 16 << 20;
/// How often the path may change under our hands before we give it a second's rest.
const TRIES: usize = 5;

/// What the path led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileState {
    /// A file with this content, which may be cut off if its writer was slow.
    Content(Vec<u8>),
    /// Nothing.
    Missing,
    /// Something that cannot be read, and why.
    Unreadable(String),
}

/// A watch on one settings file.
#[derive(Debug)]
pub struct FileWatcher(FilesWatcher);

impl FileWatcher {
    /// Starts to watch, and reads the file: only what differs from [`FileWatcher::last`] is a
    /// change. An absolute path is meant; a relative one is taken from the working directory at
    /// each scan. Needs a runtime with time.
    #[cfg(test)]
    pub async fn start(path: impl Into<PathBuf>) -> Self {
        let mut watch = Self(Self::begin(path.into()));
        watch.catch_up().await;
        watch
    }

    /// Starts to watch for changes of what the settings in force were read from; `None` means that
    /// there was no file. A change since then comes at once.
    pub fn since(path: impl Into<PathBuf>, text: Option<Vec<u8>>) -> Self {
        let mut watches = Self::begin(path.into());
        watches.last = vec![text.map_or(FileState::Missing, FileState::Content)];
        Self(watches)
    }

    fn begin(path: PathBuf) -> FilesWatcher {
        FilesWatcher::limited("the settings file", vec![path], LARGEST_FILE)
    }

    /// Returns what was handed out last, at first what the start found.
    pub fn last(&self) -> &FileState {
        self.0.last.first().unwrap_or(&FileState::Missing)
    }

    /// Reads the file now and counts it as handed out: for a reload that was asked for otherwise
    /// (by signal or command), so that the same content does not reload twice.
    pub async fn catch_up(&mut self) -> &FileState {
        self.0.catch_up().await;
        self.last()
    }

    /// Waits until the content differs from what was handed out last, and hands it out. Use what is
    /// handed out and do not read the file again, for it may be in the middle of the next write by
    /// then. Dropping the future loses nothing: the next call goes on where it stopped.
    pub async fn changed(&mut self) -> FileState {
        self.0.changed().await;
        self.last().clone()
    }
}

/// A watch on some files at once. The file system is asked on other threads, for a mount may hang.
#[derive(Debug)]
pub struct FilesWatcher {
    /// What they are, in the log.
    what: &'static str,
    paths: Arc<[PathBuf]>,
    /// As many bytes are read of each, and one more, which tells that it is too long.
    largest: u64,
    /// The state of each, as last handed out.
    last: Vec<FileState>,
    course: Course,
    /// A scan that is under way, which has the course with it.
    scanning: Option<JoinHandle<(Course, Scan)>>,
    next_scan: Instant,
    /// When the first event came of a change that is not read yet.
    changing_since: Option<Instant>,
    /// Whether it was said that there are no watches.
    is_unwatched: bool,
}

/// What watches the way to the files.
#[derive(Debug, Default)]
struct Course {
    trail: Trail,
    /// The inotify watches along the trail; `None` when they cannot be had.
    watches: Option<DirWatches>,
}

/// What a scan has found.
#[derive(Debug)]
struct Scan {
    files: Vec<FileState>,
    followed: notify::Result<Followed>,
}

impl FilesWatcher {
    /// Starts to watch. Nothing counts as handed out, so that the first change comes at once when
    /// any file exists.
    pub fn start(what: &'static str, paths: Vec<PathBuf>) -> Self {
        Self::limited(what, paths, LARGEST)
    }

    fn limited(what: &'static str, paths: Vec<PathBuf>, largest: u64) -> Self {
        Self {
            what,
            largest,
            last: vec![FileState::Missing; paths.len()],
            course: Course::default(),
            scanning: None,
            next_scan: Instant::now(),
            changing_since: None,
            is_unwatched: false,
            paths: paths.into(),
        }
    }

    /// Reads the files now and counts them as handed out.
    pub async fn catch_up(&mut self) {
        if self.scanning.is_some() {
            // It may have read them before they were changed.
            self.scan().await;
        }
        self.last = self.scan().await;
    }

    /// Waits until the content of any file differs from what was handed out last; for ever when
    /// there are none. Dropping the future loses nothing: the next call goes on where it stopped.
    pub async fn changed(&mut self) {
        if self.paths.is_empty() {
            std::future::pending().await
        }
        loop {
            if self.scanning.is_none() {
                self.wait_for_hint().await;
                self.wait_for_quiet().await;
                self.changing_since = None;
            }
            let now = self.scan().await;
            if now != self.last {
                self.last = now;
                return;
            }
        }
    }

    async fn wait_for_hint(&mut self) {
        if self.changing_since.is_some() {
            return;
        }
        let hinted = match &self.course.watches {
            Some(watches) => timeout_at(self.next_scan, watches.wait()).await.is_ok(),
            None => {
                sleep_until(self.next_scan).await;
                false
            }
        };
        // A scan by the clock reads at once: its time may be over by the quiet already.
        self.changing_since = hinted.then(Instant::now);
    }

    async fn wait_for_quiet(&mut self) {
        let (Some(since), Some(watches)) = (self.changing_since, &self.course.watches) else {
            return;
        };
        let end = since + LONGEST_WAIT;
        loop {
            // Who has begun to write gets the whole time to finish; the file may be cut to nothing
            // now.
            let quiet = if watches.is_being_written() { end } else { Instant::now() + QUIET };
            if timeout_at(quiet.min(end), watches.wait()).await.is_err() {
                return;
            }
        }
    }

    /// Makes sure that the watches stand where the paths lead now, then reads the files. Goes on
    /// with a scan that was under way when its future was dropped.
    async fn scan(&mut self) -> Vec<FileState> {
        let scanning = self.scanning.get_or_insert_with(|| {
            let (paths, largest) = (Arc::clone(&self.paths), self.largest);
            let course = std::mem::take(&mut self.course);
            spawn_blocking(move || course.scan(&paths, largest))
        });
        let scanned = scanning.await;
        self.scanning = None;
        let Ok((course, scan)) = scanned else {
            // It has panicked, or the runtime ends.
            self.next_scan = Instant::now() + POLL_UNWATCHED;
            return self.last.clone();
        };
        self.course = course;
        let rest = match scan.followed {
            Ok(Followed::ToTheEnd) => POLL_WATCHED,
            Ok(Followed::NotYet) => POLL_UNWATCHED,
            Err(error) => {
                if !std::mem::replace(&mut self.is_unwatched, true) {
                    tracing::warn!(%error, "cannot watch {}, reading each second", self.what);
                }
                POLL_UNWATCHED
            }
        };
        if self.course.watches.is_some() && std::mem::replace(&mut self.is_unwatched, false) {
            tracing::debug!("watching {} again", self.what);
        }
        self.next_scan = Instant::now() + rest;
        scan.files
    }
}

impl Course {
    fn scan(mut self, paths: &Arc<[PathBuf]>, largest: u64) -> (Self, Scan) {
        let walked = Arc::clone(paths);
        let followed = regular_file::within(move || {
            let followed = self.follow(&walked);
            (self, followed)
        });
        let (course, followed) =
            followed.unwrap_or_else(|error| (Self::default(), Err(notify::Error::io(error))));
        let files = paths.iter().map(|path| read(path, largest)).collect();
        (course, Scan { files, followed })
    }

    /// Lays the watches along the paths. Each round lays them first and walks again after, so that
    /// no change between the two is missed.
    fn follow(&mut self, paths: &[PathBuf]) -> notify::Result<Followed> {
        for _ in 0..TRIES {
            let trail = Trail::walk_all(paths);
            if self.watches.as_ref().is_some_and(|watches| !watches.are_stale())
                && trail == self.trail
            {
                return Ok(Followed::ToTheEnd);
            }
            self.watches = None;
            match DirWatches::along(&trail) {
                Ok(watches) => self.watches = Some(watches),
                // A directory went away meanwhile: walk again.
                Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => {}
                Err(error) => return Err(error),
            }
            self.trail = trail;
        }
        Ok(Followed::NotYet)
    }
}

/// Whether the watches stand along the whole path.
#[derive(Debug)]
enum Followed {
    ToTheEnd,
    /// It changes faster than we can follow.
    NotYet,
}

/// Reads the file, as far as anybody wants it.
fn read(path: &Path, largest: u64) -> FileState {
    match regular_file::read(path, largest) {
        Ok(content) => FileState::Content(content),
        Err(error) if is_gone(&error) => FileState::Missing,
        Err(error) => FileState::Unreadable(error.to_string()),
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests;
