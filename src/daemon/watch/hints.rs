//! inotify along a trail: tells that something may have changed, never what.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use notify::event::{AccessKind, AccessMode, DataChange, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::trail::Trail;

/// The watches along one trail; dropping this removes them.
#[derive(Debug)]
pub(super) struct Hints {
    heard: Arc<Heard>,
    _watcher: RecommendedWatcher,
}

#[derive(Debug, Default)]
struct Heard {
    /// Holds one wake-up at most, however many events come.
    wake: Notify,
    /// Whether something was written last and its writer has not closed it yet.
    being_written: AtomicBool,
}

impl Hints {
    /// Lays a watch on each directory of a trail.
    ///
    /// # Errors
    /// `PathNotFound` when a directory is gone already; anything else means that inotify cannot be had.
    pub(super) fn along(trail: &Trail) -> notify::Result<Self> {
        let heard = Arc::new(Heard::default());
        let (tell, steps) = (Arc::clone(&heard), trail.steps.clone());
        let is_step = move |path: &PathBuf| steps.contains(path);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            tell.hear(event, &is_step);
        })?;
        for directory in trail.directories.keys() {
            watcher.watch(directory, RecursiveMode::NonRecursive)?;
        }
        Ok(Self { heard, _watcher: watcher })
    }

    /// Waits for the next hint; one that came before the call counts. Dropping the future loses nothing.
    pub(super) async fn wait(&self) {
        self.heard.wake.notified().await;
    }

    /// Whether a writer seems to be in the middle of it.
    pub(super) fn is_being_written(&self) -> bool {
        self.heard.being_written.load(Ordering::Relaxed)
    }
}

impl Heard {
    /// Takes an event in, on notify's thread. Errors and lost events are hints too.
    fn hear(&self, event: notify::Result<Event>, is_step: &impl Fn(&PathBuf) -> bool) {
        if let Ok(event) = event {
            if !is_change(event.kind)
                || !(event.paths.is_empty() || event.paths.iter().any(is_step))
            {
                return;
            }
            let written = event.kind == EventKind::Modify(ModifyKind::Data(DataChange::Any));
            self.being_written.store(written, Ordering::Relaxed);
        }
        self.wake.notify_one();
    }
}

/// Opening and reading change nothing, and we do both ourselves.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}
