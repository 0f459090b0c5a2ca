//! Follows the files of certificates, keys, authorities and revocation lists while the daemon runs.
//!
//! A certificate and its key are two files, and no tool changes both at once. So what does not fit yet is not reported:
//! every further change is tried again, and only after [`PATIENCE`] is it an error. What was in force stays in force all
//! the while. Once a day, and at the start, certificates that expire within 30 days are warned about.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, Interval, interval, sleep_until};

use super::control::Control;
use super::history::{Outcome, Trigger};
use super::off_thread::off_thread;
use super::reload;
use super::watch::{FileState, Watches};
use crate::cluster::fetch::Access;
use crate::config::{Loaded, Settings, one_lines};
use crate::tls::Material;
use crate::tls::material::{self, Purpose};
use crate::tls::system;

/// How long files that do not fit together are waited for.
const PATIENCE: Duration = Duration::from_secs(10);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What is to be done about certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// A file has changed.
    Changed,
    /// Files did not fit together, and the time that they had is over.
    OutOfPatience,
    /// A day has passed.
    Daily,
    /// A file has changed that refused settings name, so that they may be good now.
    SecondChance,
}

/// The watch on the files of the settings in force.
#[derive(Debug)]
pub struct Certificates {
    watches: Watches,
    /// When files that do not fit together are to be reported; `None` while all is well, or was reported.
    report_at: Option<Instant>,
    daily: Interval,
    /// Settings that were refused for the files that they name, and the watch on those.
    refused: Option<(FileState, Watches)>,
}

impl Certificates {
    /// Follows the files that `settings` name. They are looked at again at once, since they may have changed after they
    /// were read.
    pub fn follow(settings: &Settings) -> Self {
        Self {
            watches: Watches::start("the files for TLS", paths(settings)),
            report_at: None,
            daily: interval(DAY),
            refused: None,
        }
    }

    /// Watches the files that settings name which are about to be tried.
    pub(super) async fn watch_for(tried: &Settings) -> Watches {
        let mut watches = Watches::start("the files for TLS", paths(tried));
        watches.catch_up().await;
        watches
    }

    /// Remembers settings that were refused for the files that they name: who deploys both may well write the settings
    /// first. `watches` must be older than the try, so that no file is mended unseen.
    pub(super) fn remember(&mut self, seen: FileState, watches: Watches) {
        self.refused = Some((seen, watches));
    }

    /// Takes the settings that were refused out.
    pub fn take_refused(&mut self) -> Option<FileState> {
        self.refused.take().map(|(seen, _)| seen)
    }

    /// Waits until something is to be done. Dropping the future loses nothing.
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
        paths.extend(system::watched());
    }
    paths
}

impl Control {
    /// Reads the files for TLS for settings that are about to be in force. Returns the material and warnings.
    pub(super) async fn load_material(
        &self,
        loaded: &Loaded,
    ) -> Result<(Material, Vec<String>), Vec<String>> {
        let (settings, origins) = (loaded.settings.clone(), loaded.origins.clone());
        let before = self.material.clone();
        let load = move || material::load(&settings, &origins, Some(&before), Purpose::Use);
        off_thread("the files for TLS", load)
            .await?
            .map(|(material, warnings)| (material, one_lines(&warnings)))
            .map_err(|problems| one_lines(&problems.0))
    }

    /// Does what is due about certificates.
    pub(super) async fn renew_certificates(&mut self, due: Due) {
        if due == Due::SecondChance {
            if let Some(seen) = self.certificates.take_refused() {
                self.reload(Trigger::File, seen).await;
            }
            return;
        }
        if due == Due::Daily {
            self.warn_of_expiry();
            // Only what we make ourselves is renewed by the clock.
            if self.loaded.settings.tls.listener.self_made.is_none() {
                return;
            }
        }
        match self.load_material(&self.loaded).await {
            Ok((material, warnings)) => {
                self.certificates.report_at = None;
                self.take_over(material, warnings);
            }
            Err(reasons) if due == Due::OutOfPatience => {
                self.certificates.report_at = None;
                self.conclude(Outcome::Refused { reasons });
            }
            Err(reasons) => {
                tracing::debug!(reason = %reasons.join("; "), "files for TLS do not fit yet, waiting");
                self.certificates.report_at.get_or_insert(Instant::now() + PATIENCE);
            }
        }
    }

    fn take_over(&mut self, material: Material, warnings: Vec<String>) {
        if material == self.material {
            // Whoever has put the old files back wants to know that all is well again.
            if self.history.certificates_refused().is_some() {
                self.conclude(Outcome::Unchanged { warnings });
            }
            return;
        }
        let changes = material.news(&self.material);
        self.material = material;
        self.number += 1;
        // A refresh that is under way would bring back what peers were shown before.
        if let Some(refresh) = self.refreshing.take() {
            refresh.abort();
        }
        let access = Access::new(&self.loaded.settings, &self.material);
        self.tracker.set_access(access, &self.material.registry);
        self.source_news = self.tracker.source_news();
        self.refresh_at = Instant::now();
        self.put_in_force(self.listed.clone());
        self.conclude(Outcome::Applied { changes, warnings });
    }

    fn conclude(&mut self, outcome: Outcome) {
        let record = self.history.record(Trigger::Certificates, outcome, self.number);
        reload::log(&record);
        self.say_status();
    }

    fn warn_of_expiry(&self) {
        let now = SystemTime::now();
        for warning in self.material.certificates.iter().filter_map(|shown| shown.warning(now)) {
            tracing::warn!("{warning}");
        }
    }
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
