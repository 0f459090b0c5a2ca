//! A reload: reads, resolves and builds everything new first, then swaps it in, or changes nothing
//! at all.

use std::time::Duration;

use super::apply_errors;
use super::certificates::Certificates;
use super::control::Control;
use super::history::{Outcome, Trigger};
use super::off_thread::off_thread;
use super::watch::FileState;
use crate::cluster::eligibility;
use crate::cluster::tracker::Setup;
use crate::config::change::{changes, keep_running, needs_restart, overridden, vanished};
use crate::config::{self, Loaded, Problem, one_lines};
use crate::net::inherited::Inherited;
use crate::telemetry::log::OpenLog;
use crate::telemetry::snapshot::ReloadRecord;
use crate::tls::configs::{self, Purpose};

/// How long new peers may take to answer before the reload continues without their list.
const NEW_PEERS: Duration = Duration::from_secs(3);

/// How long a reload waits for workers that are busy.
const WORKERS: Duration = Duration::from_secs(1);

impl Control {
    /// Reloads the settings from the file as it was seen. Reports the outcome in the log, to
    /// systemd and in the history.
    pub(super) async fn reload(&mut self, trigger: Trigger, seen: FileState) -> ReloadRecord {
        self.notifier.reloading();
        let outcome = match self.prepare_and_commit(seen).await {
            Ok(outcome) => outcome,
            Err(reasons) => {
                self.reopen_log().await;
                Outcome::Refused { reasons }
            }
        };
        let record = self.history.record(trigger, outcome, self.number);
        log(&record);
        self.report_status();
        if self.ready {
            self.notifier.ready();
        }
        record
    }

    /// Reopens the log outputs in force. A reload is how log rotation asks for it, and the old file
    /// must not keep filling because the settings were refused.
    async fn reopen_log(&self) {
        match open_log(&self.loaded).await {
            Ok(log) => self.log.apply(log),
            Err(errors) => {
                for error in errors {
                    tracing::warn!(%error, "cannot reopen the log, still writing to the old outputs");
                }
            }
        }
    }

    /// Prepares everything that can fail, then commits it.
    async fn prepare_and_commit(&mut self, seen: FileState) -> Result<Outcome, Vec<String>> {
        self.certificates.take_refused();
        let loaded = self.load(seen.clone()).await?;
        let changes = changes(&self.loaded, &loaded);
        let restarts = needs_restart(&changes);
        if !restarts.is_empty() {
            return Err(self.more_than_a_restart(&restarts, &loaded).await);
        }
        let mut warnings = one_lines(&loaded.warnings);
        warnings.extend(one_lines(&overridden(&self.loaded, &loaded)));
        let files = Certificates::watch_for(&loaded.settings).await;
        let tls_configs = self.load_tls_configs(&loaded).await;
        let log = open_log(&loaded).await;
        let plan = self.listeners.plan(&loaded.settings, &mut Inherited::default());
        let (tls_configs, log, plan) = match (tls_configs, log, plan) {
            (Ok(tls_configs), Ok(log), Ok(plan)) => (tls_configs, log, plan),
            (tls_configs, log, plan) => {
                let mut reasons = Vec::new();
                if let Err(errors) = tls_configs {
                    self.certificates.remember(seen, files);
                    reasons.extend(errors);
                }
                reasons.extend(log.err().unwrap_or_default());
                let errors = plan.err().unwrap_or_default();
                reasons.extend(one_lines(&apply_errors::of_listeners(&errors, &loaded)));
                return Err(reasons);
            }
        };
        let (tls_configs, tls_warnings) = tls_configs;
        warnings.extend(tls_warnings);
        let changed_files = tls_configs.changed_files(&self.tls_configs);
        if changes.is_empty() && tls_configs == self.tls_configs {
            self.loaded = loaded;
            self.log.apply(log);
            return Ok(Outcome::Unchanged { warnings });
        }

        // A refresh under way does not know the new settings.
        if let Some(refresh) = self.refreshing.take() {
            refresh.abort();
        }
        let mut candidate = self.tracker.candidate(Setup::new(&loaded.settings, &tls_configs));
        let disputed = |reason| one_lines(&[apply_errors::of_peers(reason, &loaded)]);
        warnings.extend(candidate.prepare(NEW_PEERS).await.map_err(disputed)?);
        let mut own = self.listeners.client_addresses();
        own.extend(plan.client_addresses());
        let listed = match candidate.tracker().list() {
            Some(list) => eligibility::evaluate(list, &own).await.into(),
            None => self.listed.clone(),
        };

        // From here on nothing fails.
        self.workers.release();
        self.tracker = candidate.commit().await;
        self.source_changes = self.tracker.source_changes();
        self.log.apply(log);
        self.loaded = loaded;
        self.tls_configs = tls_configs;
        self.certificates = Certificates::follow(&self.loaded.settings);
        self.number += 1;
        listed.log_changes(Some(&self.listed));
        // The certificate of a new TLS listener must be in place before its first client.
        self.publish(listed);
        self.listeners.commit(
            plan,
            &self.loaded.settings,
            &mut self.workers,
            &self.renderer,
            &mut self.notifier,
        );
        self.refresh_at = tokio::time::Instant::now();
        // Waits so that a reload is reported as applied only once it is: workers take commands in
        // order, and answer after all that came before.
        let _ = tokio::time::timeout(WORKERS, self.workers.ping_all()).await;
        Ok(Outcome::Applied {
            changes: changes.iter().map(ToString::to_string).chain(changed_files).collect(),
            warnings,
        })
    }

    /// Returns why settings that need a restart are refused, together with anything else that is
    /// wrong with them. Creates no files.
    async fn more_than_a_restart(&self, restarts: &[Problem], loaded: &Loaded) -> Vec<String> {
        let mut reasons = one_lines(restarts);
        let draft = loaded.clone();
        let checked = off_thread("the files that the settings name", move || {
            let checked = configs::load(&draft.settings, &draft.origins, None, Purpose::Check);
            let mut problems = checked.err().unwrap_or_default();
            problems.0.extend(apply_errors::of_log(&OpenLog::check(&draft.settings.log), &draft));
            one_lines(&problems.0)
        });
        reasons.extend(checked.await.unwrap_or_else(|slow| slow));
        let plan = self.listeners.plan(&loaded.settings, &mut Inherited::default());
        let errors = plan.err().unwrap_or_default();
        reasons.extend(one_lines(&apply_errors::of_listeners(&errors, loaded)));
        reasons
    }

    async fn load(&self, seen: FileState) -> Result<Loaded, Vec<String>> {
        let content = match seen {
            FileState::Content(content) => Some(content),
            // `load` opens the path itself, and reports what is wrong with it in its own words.
            FileState::Missing | FileState::Unreadable(_) => None,
        };
        let inputs = self.inputs.clone();
        let load = move || config::load_seen(&inputs, content);
        let loaded = off_thread("the settings file", load).await?;
        let mut loaded = loaded.map_err(|problems| one_lines(&problems.0))?;
        refuse(vanished(&self.loaded, &loaded).into_iter().collect())?;
        keep_running(&self.loaded, &mut loaded);
        Ok(loaded)
    }
}

/// Opens the log outputs that the settings name.
async fn open_log(loaded: &Loaded) -> Result<OpenLog, Vec<String>> {
    let settings = loaded.settings.log.clone();
    let log = off_thread("the log files", move || OpenLog::open(&settings)).await?;
    log.map_err(|errors| one_lines(&apply_errors::of_log(&errors, loaded)))
}

fn refuse(problems: Vec<Problem>) -> Result<(), Vec<String>> {
    if problems.is_empty() { Ok(()) } else { Err(one_lines(&problems)) }
}

/// Writes the outcome of a reload to the log.
pub(super) fn log(record: &ReloadRecord) {
    let ReloadRecord { trigger, generation, changes, messages, .. } = record;
    if record.is_refused() {
        for reason in messages {
            tracing::error!(every = true, %trigger, generation, "settings refused, the old ones stay in force: {reason}");
        }
        return;
    }
    for warning in messages {
        tracing::warn!(every = true, %trigger, "{warning}");
    }
    if changes.is_empty() {
        tracing::info!(every = true, %trigger, generation, "settings are unchanged");
    } else {
        tracing::info!(every = true, %trigger, generation, changes = %changes.join("; "), "settings reloaded");
    }
}
