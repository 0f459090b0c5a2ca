//! Applies certificates, keys, authorities and revocation lists that have changed on disk.
//!
//! A certificate and its key are two files, and no tool changes both at once. So files that do not
//! match are an error only once they have not matched for [`PATIENCE`]. Until then every further
//! change is tried again, and the old ones stay in force. Certificates that expire within 30 days
//! are warned about once a day, and at the start.

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

/// How long files that do not match may take to do so before they are reported.
const PATIENCE: Duration = Duration::from_secs(10);

impl Control {
    /// Reads the TLS files of settings that are about to be applied. Returns the TLS configs and
    /// warnings.
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

    /// Handles what is due for certificates.
    pub(super) async fn renew_certificates(&mut self, due: Due) {
        if due == Due::SecondChance {
            if let Some(seen) = self.certificates.take_refused() {
                self.reload(Trigger::File, seen).await;
            }
            return;
        }
        if due == Due::Daily {
            self.warn_of_expiry();
            // The clock renews only the certificate that the daemon makes itself.
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
                tracing::debug!(reason = %reasons.join("; "), "TLS files do not match yet, waiting");
                self.certificates.report_at.get_or_insert(Instant::now() + PATIENCE);
            }
        }
    }

    fn take_over(&mut self, tls_configs: TlsConfigs, warnings: Vec<String>) {
        if tls_configs == self.tls_configs {
            // The old files were put back: report that the refusal is over.
            if self.history.certificates_refused().is_some() {
                self.conclude(Outcome::Unchanged { warnings });
            }
            return;
        }
        let changes = tls_configs.changed_files(&self.tls_configs);
        self.tls_configs = tls_configs;
        self.number += 1;
        // A refresh under way would bring back the old TLS config for peers.
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
