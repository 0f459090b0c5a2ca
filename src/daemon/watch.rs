//! Notices changes of files, however they are made: the settings file, and the TLS files that it
//! names.
//!
//! An edit can be a write in place, a rename over the file, or the swap of a symlink anywhere along
//! its path (Kubernetes swaps `..data`). The file and its directories can vanish and come back. So
//! the *directory* of every step of the path is watched (see `trail`), and events are only hints.
//! After a hint, once there has been a short quiet time, the path is walked again and the file is
//! read. A change is reported only if its content differs from the content last reported.
//!
//! Where inotify is not available (its per-user limits are low on many machines), the file is read
//! every second instead. With inotify it is still read every 30 seconds, because some mounts and
//! network file systems send no events.

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
/// A change is read at most this long after its first event, however many follow.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Time between two scans without inotify.
const POLL_UNWATCHED: Duration = Duration::from_secs(1);
/// Time between two scans with inotify.
const POLL_WATCHED: Duration = Duration::from_secs(30);
/// The longest file for TLS, in bytes; `tls` refuses what is longer.
const LARGEST: u64 = 16 << 20;
/// Tries to follow a path that changes meanwhile, before a pause of [`POLL_UNWATCHED`].
const TRIES: usize = 5;

/// What was found at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileState {
    /// A file with this content, which may be incomplete if its writer was slow.
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
    /// Starts to watch, and reads the file. Only what differs from [`FileWatcher::last`] is a
    /// change. The path should be absolute; a relative one is resolved against the working
    /// directory at each scan. Needs a runtime with time enabled.
    #[cfg(test)]
    pub async fn start(path: impl Into<PathBuf>) -> Self {
        let mut watch = Self(Self::begin(path.into()));
        watch.catch_up().await;
        watch
    }

    /// Starts to watch for changes since the settings in force were read from `text`; `None` means
    /// that there was no file. A change since then is reported at once.
    pub fn since(path: impl Into<PathBuf>, text: Option<Vec<u8>>) -> Self {
        let mut watches = Self::begin(path.into());
        watches.last = vec![text.map_or(FileState::Missing, FileState::Content)];
        Self(watches)
    }

    fn begin(path: PathBuf) -> FilesWatcher {
        FilesWatcher::limited("the settings file", vec![path], LARGEST_FILE)
    }

    /// Returns the state last reported; at first, the one found at the start.
    pub fn last(&self) -> &FileState {
        self.0.last.first().unwrap_or(&FileState::Missing)
    }

    /// Reads the file now and marks it as reported. Used by reloads with another trigger (a signal
    /// or a command), so that the same content does not reload twice.
    pub async fn catch_up(&mut self) -> &FileState {
        self.0.catch_up().await;
        self.last()
    }

    /// Waits until the content differs from the one last reported, and returns it. Callers should
    /// use the content returned and not read the file again, for by then it may be in the middle of
    /// the next write. Dropping the future loses nothing: the next call continues where it stopped.
    pub async fn changed(&mut self) -> FileState {
        self.0.changed().await;
        self.last().clone()
    }
}

/// A watch on several files at once. The file system is read on other threads, because a mount may
/// hang.
#[derive(Debug)]
pub struct FilesWatcher {
    /// What the files are called in the log.
    what: &'static str,
    paths: Arc<[PathBuf]>,
    /// At most this many bytes are read of each file, and one more, which shows that it is too
    /// long.
    largest: u64,
    /// The state of each file, as last reported.
    last: Vec<FileState>,
    course: Course,
    /// A scan under way; it owns the course meanwhile.
    scanning: Option<JoinHandle<(Course, Scan)>>,
    next_scan: Instant,
    /// The time of the first event of a change that has not been read yet.
    changing_since: Option<Instant>,
    /// Whether the lack of watches was logged.
    is_unwatched: bool,
}

/// The trail to the files and the watches along it.
#[derive(Debug, Default)]
struct Course {
    trail: Trail,
    /// The inotify watches along the trail; `None` when inotify is not available.
    watches: Option<DirWatches>,
}

/// The result of a scan.
#[derive(Debug)]
struct Scan {
    files: Vec<FileState>,
    followed: notify::Result<Followed>,
}

impl FilesWatcher {
    /// Starts to watch. Nothing is marked as reported, so that any file that exists is a change at
    /// once.
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

    /// Reads the files now and marks them as reported.
    pub async fn catch_up(&mut self) {
        if self.scanning.is_some() {
            // The scan under way may have read the files before they were changed.
            self.scan().await;
        }
        self.last = self.scan().await;
    }

    /// Waits until the content of any file differs from the one last reported, or for ever when
    /// there are no files. Dropping the future loses nothing: the next call continues where it
    /// stopped.
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
        // A periodic scan reads at once, without a quiet time.
        self.changing_since = hinted.then(Instant::now);
    }

    async fn wait_for_quiet(&mut self) {
        let (Some(since), Some(watches)) = (self.changing_since, &self.course.watches) else {
            return;
        };
        let end = since + LONGEST_WAIT;
        loop {
            // A writer that has begun gets the whole time to finish; the file may be truncated now.
            let quiet = if watches.is_being_written() { end } else { Instant::now() + QUIET };
            if timeout_at(quiet.min(end), watches.wait()).await.is_err() {
                return;
            }
        }
    }

    /// Makes sure that the watches follow the paths as they lead now, then reads the files.
    /// Continues a scan that was under way when its future was dropped.
    async fn scan(&mut self) -> Vec<FileState> {
        let scanning = self.scanning.get_or_insert_with(|| {
            let (paths, largest) = (Arc::clone(&self.paths), self.largest);
            let course = std::mem::take(&mut self.course);
            spawn_blocking(move || course.scan(&paths, largest))
        });
        let scanned = scanning.await;
        self.scanning = None;
        let Ok((course, scan)) = scanned else {
            // The scan panicked, or the runtime is shutting down.
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

    /// Sets the watches along the paths. Each round sets them first and walks the paths again
    /// after, so that no change between the two is missed.
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

/// Whether the watches cover the whole path.
#[derive(Debug)]
enum Followed {
    ToTheEnd,
    /// The path changes faster than it can be followed.
    NotYet,
}

/// Reads the file, but at most one byte more than `largest`.
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
