//! The outcomes of the last reloads: the answer to "is my edit in force?".
//!
//! Every reload is recorded here once, whatever triggered it. The command's answer, the log, the
//! metrics and the snapshot are all made from the record that [`History::record`] returns.

use std::collections::VecDeque;

use crate::config::masked;
use crate::telemetry::snapshot::{ReloadRecord, ReloadResult, Snapshot};
use crate::telemetry::time::now_ms;

/// How many records are kept.
pub const KEPT: usize = 32;

/// What triggered a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// The settings file changed.
    File,
    /// A SIGHUP.
    Signal,
    /// `etcd-proxy reload`.
    Command,
    /// A TLS file changed.
    Certificates,
}

impl Trigger {
    /// Returns its name in records, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Signal => "signal",
            Self::Command => "command",
            Self::Certificates => "certificates",
        }
    }
}

/// The outcome of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A new generation is in force.
    Applied {
        /// What changed, each as `key: old -> new`.
        changes: Vec<String>,
        /// Warnings, each as one line.
        warnings: Vec<String>,
    },
    /// The settings are the same as those in force.
    Unchanged {
        /// Warnings, each as one line.
        warnings: Vec<String>,
    },
    /// The settings cannot be used; the old generation stays in force.
    Refused {
        /// Every reason, each as one line (`PLACE: MESSAGE`).
        reasons: Vec<String>,
    },
}

impl Outcome {
    fn result(&self) -> ReloadResult {
        match self {
            Self::Applied { .. } => ReloadResult::Applied,
            Self::Unchanged { .. } => ReloadResult::Unchanged,
            Self::Refused { .. } => ReloadResult::Refused,
        }
    }
}

/// The last [`KEPT`] reloads, and counts of all since start.
#[derive(Debug, Default)]
pub struct History {
    newest_first: VecDeque<ReloadRecord>,
    applied: u64,
    unchanged: u64,
    refused: u64,
    last_good_ms: Option<u64>,
    /// The newest refusal of the settings, until some are accepted.
    settings_refused: Option<ReloadRecord>,
    /// The newest refusal of TLS files alone, until some are accepted.
    certificates_refused: Option<ReloadRecord>,
}

impl History {
    /// Records a reload that ended now; `generation` is the one in force afterwards.
    pub fn record(&mut self, trigger: Trigger, outcome: Outcome, generation: u64) -> ReloadRecord {
        let at_ms = now_ms();
        self.count(&outcome);
        let result = outcome.result();
        let (changes, messages) = match outcome {
            Outcome::Applied { changes, warnings } => (changes, warnings),
            Outcome::Unchanged { warnings } => (Vec::new(), warnings),
            Outcome::Refused { reasons } => (Vec::new(), reasons),
        };
        let masked = |texts: Vec<String>| texts.iter().map(|text| masked(text).into()).collect();
        let (changes, messages) = (masked(changes), masked(messages));
        let word = trigger.as_str().to_owned();
        let record = ReloadRecord { at_ms, trigger: word, result, generation, changes, messages };
        self.keep_open(trigger, &record);
        self.newest_first.truncate(KEPT - 1);
        self.newest_first.push_front(record.clone());
        record
    }

    fn count(&mut self, outcome: &Outcome) {
        let counter = match outcome {
            Outcome::Applied { .. } => &mut self.applied,
            Outcome::Unchanged { .. } => &mut self.unchanged,
            Outcome::Refused { .. } => &mut self.refused,
        };
        *counter += 1;
    }

    /// Keeps a refusal until the same kind is accepted. A renewed certificate does not clear the
    /// refusal of a settings file. Accepted settings clear both, because they were read with all
    /// their files.
    fn keep_open(&mut self, trigger: Trigger, record: &ReloadRecord) {
        let refused = record.is_refused().then(|| record.clone());
        match trigger {
            Trigger::Certificates => self.certificates_refused = refused,
            Trigger::File | Trigger::Signal | Trigger::Command => {
                if refused.is_none() {
                    self.last_good_ms = Some(record.at_ms);
                    self.certificates_refused = None;
                }
                self.settings_refused = refused;
            }
        }
    }

    /// Returns the refusal of the TLS files on disk, if there is one.
    pub fn certificates_refused(&self) -> Option<&ReloadRecord> {
        self.certificates_refused.as_ref()
    }

    /// Writes the records and the counts into a snapshot.
    pub fn fill(&self, snapshot: &mut Snapshot) {
        snapshot.reloads = self.newest_first.iter().cloned().collect();
        snapshot.settings_refused = self.settings_refused.clone();
        snapshot.certificates_refused = self.certificates_refused.clone();
        snapshot.reloads_applied = self.applied;
        snapshot.reloads_unchanged = self.unchanged;
        snapshot.reloads_refused = self.refused;
        snapshot.settings_accepted_ms = self.last_good_ms.unwrap_or(snapshot.started_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(reason: &str) -> Outcome {
        Outcome::Refused { reasons: vec![reason.to_owned()] }
    }

    #[test]
    fn the_newest_stands_first_and_only_the_last_32_are_kept() {
        let mut history = History::default();
        for generation in 1..=40 {
            let outcome = Outcome::Applied { changes: vec![], warnings: vec![] };
            history.record(Trigger::File, outcome, generation);
        }
        let mut snapshot = Snapshot::default();
        history.fill(&mut snapshot);
        let generations: Vec<_> = snapshot.reloads.iter().map(|r| r.generation).collect();
        assert_eq!(generations, (9..=40).rev().collect::<Vec<_>>());
        assert_eq!(snapshot.reloads_applied, 40);
    }

    #[test]
    fn results_are_counted_apart() {
        let mut history = History::default();
        history.record(Trigger::Signal, refused("a"), 1);
        history.record(Trigger::Signal, refused("b"), 1);
        history.record(Trigger::Command, Outcome::Unchanged { warnings: vec![] }, 1);
        let mut snapshot = Snapshot::default();
        history.fill(&mut snapshot);
        let counts =
            (snapshot.reloads_applied, snapshot.reloads_unchanged, snapshot.reloads_refused);
        assert_eq!(counts, (0, 1, 2));
    }

    #[test]
    fn a_refusal_is_not_a_good_reload() {
        let mut history = History::default();
        history.record(Trigger::File, refused("a"), 1);
        assert_eq!(history.last_good_ms, None);
        let good = history.record(Trigger::File, Outcome::Unchanged { warnings: vec![] }, 1);
        assert_eq!(history.last_good_ms, Some(good.at_ms));
    }

    /// Returns the reasons of all open refusals.
    fn open(history: &History) -> Vec<String> {
        let mut snapshot = Snapshot::default();
        history.fill(&mut snapshot);
        snapshot.refusals().flat_map(|record| record.messages.clone()).collect()
    }

    #[test]
    fn a_renewed_certificate_does_not_make_a_refused_file_accepted() {
        let mut history = History::default();
        history.record(Trigger::File, refused("broken file"), 1);
        let renewed = Outcome::Applied { changes: vec![], warnings: vec![] };
        history.record(Trigger::Certificates, renewed, 2);
        assert_eq!(open(&history), ["broken file"]);
        assert_eq!(history.last_good_ms, None);
        history.record(Trigger::Certificates, refused("no key"), 2);
        assert_eq!(open(&history), ["broken file", "no key"]);
        history.record(Trigger::Certificates, Outcome::Unchanged { warnings: vec![] }, 2);
        assert_eq!(open(&history), ["broken file"]);
        history.record(Trigger::File, Outcome::Unchanged { warnings: vec![] }, 2);
        assert!(open(&history).is_empty());
    }

    #[test]
    fn settings_that_are_accepted_were_read_with_their_certificates() {
        let mut history = History::default();
        history.record(Trigger::Certificates, refused("no key"), 1);
        history.record(Trigger::File, refused("broken file"), 1);
        assert_eq!(open(&history), ["broken file", "no key"]);
        history.record(Trigger::File, Outcome::Unchanged { warnings: vec![] }, 1);
        assert!(open(&history).is_empty());
    }
}
