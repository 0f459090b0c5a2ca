//! inotify watches along a trail: they tell that something may have changed, never what.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use notify::event::{AccessKind, AccessMode, DataChange, ModifyKind};
use notify::{Config, Event, EventKind, EventKindMask, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::trail::Trail;

/// The events that the kernel reports: all but the opening and reading of files, which in a busy
/// directory would wake the daemon for each process that starts.
const EVENT_KINDS: EventKindMask = EventKindMask::CORE.union(EventKindMask::ACCESS_CLOSE);

/// The watches along one trail; dropping this removes them.
#[derive(Debug)]
pub(super) struct DirWatches {
    shared: Arc<SharedWatch>,
    _watcher: RecommendedWatcher,
}

#[derive(Debug, Default)]
struct SharedWatch {
    /// Holds at most one wake-up, however many events come.
    wake: Notify,
    /// Whether the last change was a write whose writer has not closed the file yet.
    being_written: AtomicBool,
    /// Whether a watch may be gone: the kernel and notify drop it with its directory, even when the
    /// very same directory comes back.
    stale: AtomicBool,
}

impl DirWatches {
    /// Sets a watch on each directory of a trail.
    ///
    /// # Errors
    /// `PathNotFound` when a directory is already gone; any other error means that inotify is not
    /// available.
    pub(super) fn along(trail: &Trail) -> notify::Result<Self> {
        let shared = Arc::new(SharedWatch::default());
        let tell = Arc::clone(&shared);
        let paths = WatchedPaths {
            steps: trail.steps.clone(),
            directories: trail.directories.keys().cloned().collect(),
        };
        let handler = move |event: notify::Result<Event>| tell.handle(event, &paths);
        let mut watcher =
            RecommendedWatcher::new(handler, Config::default().with_event_kinds(EVENT_KINDS))?;
        for directory in trail.directories.keys() {
            watcher.watch(directory, RecursiveMode::NonRecursive)?;
        }
        Ok(Self { shared, _watcher: watcher })
    }

    /// Waits for the next hint; one that came before the call counts too. Dropping the future loses
    /// nothing.
    pub(super) async fn wait(&self) {
        self.shared.wake.notified().await;
    }

    /// Returns whether the watches must be set anew, even if the path leads the same way.
    pub(super) fn are_stale(&self) -> bool {
        self.shared.stale.load(Ordering::Relaxed)
    }

    /// Returns whether a writer seems to be in the middle of a write.
    pub(super) fn is_being_written(&self) -> bool {
        self.shared.being_written.load(Ordering::Relaxed)
    }
}

/// The paths that the watches cover.
struct WatchedPaths {
    steps: BTreeSet<PathBuf>,
    directories: BTreeSet<PathBuf>,
}

impl SharedWatch {
    /// Handles an event, on notify's thread. Errors and lost events are hints too.
    fn handle(&self, event: notify::Result<Event>, paths: &WatchedPaths) {
        let Ok(event) = event else {
            self.stale.store(true, Ordering::Relaxed);
            return self.wake.notify_one();
        };
        if event.need_rescan() || is_going(event.kind) && paths.has_directory(&event) {
            self.stale.store(true, Ordering::Relaxed);
        }
        if is_change(event.kind) && paths.has_step(&event) {
            let written = event.kind == EventKind::Modify(ModifyKind::Data(DataChange::Any));
            self.being_written.store(written, Ordering::Relaxed);
            self.wake.notify_one();
        }
    }
}

impl WatchedPaths {
    fn has_step(&self, event: &Event) -> bool {
        event.paths.is_empty() || event.paths.iter().any(|path| self.steps.contains(path))
    }

    fn has_directory(&self, event: &Event) -> bool {
        event.paths.iter().any(|path| self.directories.contains(path))
    }
}

/// Returns whether something was removed from its place.
fn is_going(kind: EventKind) -> bool {
    matches!(kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)))
}

/// Returns whether an event may change content. Opening and reading do not, and scans do both
/// themselves.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}
