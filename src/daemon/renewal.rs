//! Takes over certificates, keys, authorities and revocation lists that have changed on disk.
//!
//! A certificate and its key are two files, and no tool changes both at once. So files that do not
//! fit together are no error before [`PATIENCE`] is over; every further change is tried again. What
//! was in force stays in force all the while. Certificates that expire within 30 days are warned
//! about once a day, and at the start.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::certificates::Due;
use super::control::Control;
use super::history::{Outcome, Trigger};
use super::off_thread::off_thread;
use super::reload;
use crate::cluster::fetch::Access;
use crate::config::{Loaded, one_lines};
use crate::tls::TlsConfigs;
use crate::tls::configs::{self, Purpose};

/// How long files that do not fit together are waited for.
const PATIENCE: Duration = Duration::from_secs(10);

impl Control {
    /// Reads the files for TLS for settings that are about to be in force. Returns the TLS configs
    /// and warnings.
    pub(super) async fn load_tls_configs(
        &self,
        loaded: &Loaded,
    ) -> Result<(TlsConfigs, Vec<String>), Vec<String>> {
        let (settings, origins) = (loaded.settings.clone(), loaded.origins.clone());
        let before = self.tls_configs.clone();
        let load = move || configs::load(&settings, &origins, Some(&before), Purpose::Use);
        off_thread("the files for TLS", load)
            .await?
            .map(|(tls_configs, warnings)| (tls_configs, one_lines(&warnings)))
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
            if self.loaded.settings.tls.listener.auto_tls.is_none() {
                return;
            }
        }
        match self.load_tls_configs(&self.loaded).await {
            Ok((tls_configs, warnings)) => {
                self.certificates.report_at = None;
                self.take_over(tls_configs, warnings);
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

    fn take_over(&mut self, tls_configs: TlsConfigs, warnings: Vec<String>) {
        if tls_configs == self.tls_configs {
            // Whoever has put the old files back wants to know that all is well again.
            if self.history.certificates_refused().is_some() {
                self.conclude(Outcome::Unchanged { warnings });
            }
            return;
        }
        let changes = tls_configs.changed_files(&self.tls_configs);
        self.tls_configs = tls_configs;
        self.number += 1;
        // A refresh that is under way would bring back what peers were shown before.
        if let Some(refresh) = self.refreshing.take() {
            refresh.abort();
        }
        let access = Access::new(&self.loaded.settings, &self.tls_configs);
        self.tracker.set_access(access, &self.tls_configs.registry);
        self.source_changes = self.tracker.source_changes();
        self.refresh_at = Instant::now();
        self.publish(self.listed.clone());
        self.conclude(Outcome::Applied { changes, warnings });
    }

    fn conclude(&mut self, outcome: Outcome) {
        let record = self.history.record(Trigger::Certificates, outcome, self.number);
        reload::log(&record);
        self.report_status();
    }

    fn warn_of_expiry(&self) {
        let now = SystemTime::now();
        for warning in self.tls_configs.certificates.iter().filter_map(|shown| shown.warning(now)) {
            tracing::warn!("{warning}");
        }
    }
}
