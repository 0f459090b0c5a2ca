//! Watches the files of certificates, keys, authorities and revocation lists while the daemon runs.
//!
//! Reports when something is due: a file has changed, the time for files to match is over, or a day
//! has passed. [`renewal`](super::renewal) acts on it.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, Interval, interval, sleep_until};

use super::watch::{FileState, FilesWatcher};
use crate::config::Settings;
use crate::tls::system_roots;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The reason to look at the certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// A file has changed.
    Changed,
    /// Files did not match, and the time for them to do so is over.
    OutOfPatience,
    /// A day has passed.
    Daily,
    /// A file that refused settings name has changed, so that they may be accepted now.
    SecondChance,
}

/// The watch on the files of the settings in force.
#[derive(Debug)]
pub struct Certificates {
    watches: FilesWatcher,
    /// When files that do not match are to be reported; `None` when they match, or were reported.
    pub(super) report_at: Option<Instant>,
    daily: Interval,
    /// Settings that were refused because of their TLS files, and the watch on those files.
    refused: Option<(FileState, FilesWatcher)>,
}

impl Certificates {
    /// Watches the files that `settings` name. They are checked again at once, because they may
    /// have changed since they were read.
    pub fn follow(settings: &Settings) -> Self {
        Self {
            watches: FilesWatcher::start("the files for TLS", paths(settings)),
            report_at: None,
            daily: interval(DAY),
            refused: None,
        }
    }

    /// Watches the files of settings that are about to be tried.
    pub(super) async fn watch_for(tried: &Settings) -> FilesWatcher {
        let mut watches = FilesWatcher::start("the files for TLS", paths(tried));
        watches.catch_up().await;
        watches
    }

    /// Remembers settings that were refused because of their TLS files: a deployment of both may
    /// well write the settings first. `watches` must be older than the attempt, so that no repair
    /// of a file goes unnoticed.
    pub(super) fn remember(&mut self, seen: FileState, watches: FilesWatcher) {
        self.refused = Some((seen, watches));
    }

    /// Takes out the refused settings.
    pub fn take_refused(&mut self) -> Option<FileState> {
        self.refused.take().map(|(seen, _)| seen)
    }

    /// Waits until something is due. Dropping the future loses nothing.
    pub async fn due(&mut self) -> Due {
        let report = async {
            match self.report_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let second_chance = async {
            match &mut self.refused {
                Some((_, watches)) => watches.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = second_chance => Due::SecondChance,
            () = self.watches.changed() => Due::Changed,
            () = report => Due::OutOfPatience,
            _ = self.daily.tick() => Due::Daily,
        }
    }
}

fn paths(settings: &Settings) -> Vec<PathBuf> {
    let tls = &settings.tls;
    let mut paths: Vec<_> = tls.files().into_iter().map(|file| file.path.clone()).collect();
    if [&tls.upstream, &tls.peer, &tls.registry].iter().any(|it| it.ca.is_none()) {
        paths.extend(system_roots::watched());
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Inputs};

    #[tokio::test]
    async fn a_file_that_is_mended_while_it_is_being_refused_gets_its_second_chance() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        std::fs::write(&file, "half").unwrap();
        let inputs = Inputs {
            args: vec!["--trusted-ca-file".into(), file.clone().into()],
            env: Vec::new(),
            cwd: directory.path().to_owned(),
            default_file: PathBuf::from("/none"),
        };
        let settings = config::load(&inputs).unwrap().settings;
        let mut certificates = Certificates::follow(&settings);
        let watches = Certificates::watch_for(&settings).await;
        std::fs::write(&file, "whole").unwrap();
        certificates.remember(FileState::Missing, watches);
        let waiting = async { while certificates.due().await != Due::SecondChance {} };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("no second chance");
        assert_eq!(certificates.take_refused(), Some(FileState::Missing));
    }
}
