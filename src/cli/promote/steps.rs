//! Runs the plan. Each step is verified before the next, and recorded when it is done.
//!
//! Only adding the member is not idempotent; the record tells whether it was done. A second run
//! repeats all other steps, which changes nothing where they are done.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::cluster::{Cluster, MemberAccess};
use super::environment::{self, UNSET};
use super::plan::{Plan, STEPS, named};
use super::record::{self, Membership, PromotionRecord};
use super::services::Services;
use crate::cli::environment_files;
use crate::cli::output::complain;
use crate::cluster::member::{MemberList, hex_id};

/// Longest wait for the started member to join.
const JOIN_LIMIT: Duration = Duration::from_secs(60);
/// Pause between two checks whether it has joined.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Returns whether two lists have the same URLs in any order; members keep theirs sorted.
pub(super) fn is_same(one: &[String], other: &[String]) -> bool {
    one.len() == other.len() && one.iter().all(|url| other.contains(url))
}

/// A plan being run.
pub(super) struct Run<'a> {
    pub(super) plan: &'a Plan<'a>,
    pub(super) services: &'a Services,
    pub(super) member_access: &'a MemberAccess,
    pub(super) record: PromotionRecord,
    pub(super) record_path: &'a Path,
}

impl Run<'_> {
    /// Runs all steps.
    ///
    /// # Errors
    /// A report of what failed, what is done, and how to continue or undo it.
    pub(super) async fn all(
        mut self,
        found: Option<(Cluster<'_>, MemberList)>,
    ) -> Result<(), String> {
        let mut found = found;
        for number in 1..=STEPS {
            let result = match number {
                1 => self.add(found.take()).await,
                2 => self.stop_proxy(),
                3 => self.remove_proxy_data(),
                4 => self.write_variables(),
                _ => self.start().await,
            };
            let result = result.and_then(|()| self.note(number));
            result.map_err(|reason| self.failure(number, &reason))?;
            complain(&format!("{number}/{STEPS} done: {}\n", self.plan.step(number)));
            if number == 1 {
                self.show_membership();
            }
        }
        let _ = std::fs::remove_file(self.record_path);
        Ok(())
    }

    fn note(&mut self, number: usize) -> Result<(), String> {
        self.record.done = self.record.done.max(number);
        self.save()
    }

    fn save(&self) -> Result<(), String> {
        record::write(self.record_path, &self.record)
            .map_err(|error| format!("cannot write {}: {error}", self.record_path.display()))
    }

    /// Adds the member, or finds the one that an earlier run added.
    async fn add(&mut self, found: Option<(Cluster<'_>, MemberList)>) -> Result<(), String> {
        if self.record.added.is_some() {
            return Ok(());
        }
        let Some((cluster, list)) = found else {
            return Err("no member answers".to_owned());
        };
        let is_first = !self.record_path.exists();
        // Once this is recorded, a member with these peer URLs counts as ours.
        self.save()?;
        let options = self.plan.options;
        let ours =
            list.members.iter().find(|member| is_same(&member.peer_urls, &options.peer_urls));
        let (id, list) = match ours {
            Some(member) => (member.id, list),
            None => match cluster.add(&options.peer_urls, options.learner).await {
                Ok(added) => (added.id, added.list),
                Err((reason, true)) => {
                    // Keep an earlier run's record: it may have added a member that this list does
                    // not have yet.
                    if is_first {
                        let _ = std::fs::remove_file(self.record_path);
                    }
                    return Err(format!("{} refused: {reason}", cluster.url));
                }
                Err((reason, false)) => {
                    return Err(format!(
                        "{}: {reason}; it is unknown whether the member was added, and a second run finds out",
                        cluster.url
                    ));
                }
            },
        };
        if !list.members.iter().any(|member| member.id == id) {
            return Err(format!("{} added a member that its list does not have", cluster.url));
        }
        self.record.added = Some(Membership::new(id, &options.name, &list));
        Ok(())
    }

    /// Prints exactly what `etcdctl member add` prints.
    fn show_membership(&self) {
        let Some(added) = &self.record.added else { return };
        let learner = if self.record.learner { "as learner " } else { "" };
        let mut text = format!(
            "Member {:>16} added {learner}to cluster {:>16}\n\n",
            hex_id(added.id),
            hex_id(added.cluster_id)
        );
        for variable in named(self.plan.options, &added.initial_cluster) {
            text.push_str(&environment::assignment(&variable));
        }
        let _ = std::io::stdout().write_all(text.as_bytes());
    }

    /// Stops the proxy. Units that could start it again, or listen in its place, are stopped first.
    fn stop_proxy(&self) -> Result<(), String> {
        for trigger in &self.record.triggers {
            self.services.disable(trigger)?;
        }
        self.services.disable(&self.plan.options.proxy_unit)
    }

    fn remove_proxy_data(&self) -> Result<(), String> {
        let path = &self.plan.proxy_data;
        match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(format!("cannot remove {}: {error}", path.display()))
            }
            _ => Ok(()),
        }
    }

    fn write_variables(&mut self) -> Result<(), String> {
        let host = self.plan.host;
        let cluster = self.record.added.as_ref().map(|added| added.initial_cluster.as_str());
        let mut variables = named(self.plan.options, cluster.unwrap_or_default());
        variables.extend(self.plan.variables.clone());
        let text = environment::edited(&host.present, &variables, &UNSET);
        let fault =
            |error: std::io::Error| format!("cannot write {}: {error}", host.file.display());
        if self.record.backup.is_none() && host.file.exists() {
            environment::keep(&host.file, &host.backup).map_err(|error| {
                format!("cannot keep {} as {}: {error}", host.file.display(), host.backup.display())
            })?;
            // Recorded before the file changes: a second run finds the changed file, which must not
            // replace the backup.
            self.record.backup = Some(host.backup.clone());
            self.save()?;
        }
        environment::replace(&host.file, &text).map_err(fault)?;
        let written = environment_files::read(&host.file, &self.plan.options.systemctl)?.file;
        let missing = |(name, value): &&(String, String)| {
            written.value(name) != Some(value.as_str()) && !value.is_empty()
        };
        match variables.iter().find(missing) {
            Some((name, _)) => {
                Err(format!("{} does not set {name} as written", host.file.display()))
            }
            None => Ok(()),
        }
    }

    async fn start(&self) -> Result<(), String> {
        self.services.enable(&self.plan.options.etcd_unit)?;
        let begin = Instant::now();
        loop {
            match self.has_joined().await {
                Ok(()) => return Ok(()),
                Err(reason) if begin.elapsed() > JOIN_LIMIT => {
                    return Err(format!("it has not joined within {JOIN_LIMIT:?}: {reason}"));
                }
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Checks that the other members list the new one, and that it is healthy (it sees a leader).
    async fn has_joined(&self) -> Result<(), String> {
        let (cluster, list) = self.member_access.find(&self.record.endpoints, false).await?;
        let id = self.record.added.as_ref().map(|added| added.id).unwrap_or_default();
        let member = list.members.iter().find(|member| member.id == id);
        match member {
            None => Err(format!("member {} is not in the list any more", hex_id(id))),
            Some(member) => cluster.health(member).await,
        }
    }

    fn failure(&self, number: usize, reason: &str) -> String {
        let mut text = format!(
            "error: step {number} of {STEPS} ({}) failed: {reason}\n",
            self.plan.step(number)
        );
        let done: Vec<String> = (1..number).map(|step| step.to_string()).collect();
        if done.is_empty() {
            text.push_str("  done: nothing\n");
        } else {
            text.push_str(&format!("  done: steps {}\n", done.join(", ")));
        }
        text.push_str("  to continue: fix this and run the same command again\n");
        let back = self.way_back(number);
        if !back.is_empty() {
            text.push_str(&format!("  to undo: {}\n", back.join("; ")));
        }
        text
    }

    /// Returns the commands that undo what is or may be done, in reverse order.
    fn way_back(&self, failed: usize) -> Vec<String> {
        let options = self.plan.options;
        let mut back = Vec::new();
        if failed >= 5 {
            back.push(format!("systemctl disable --now {}", options.etcd_unit));
        }
        if failed > 4 {
            let file = self.plan.host.file.display();
            back.push(match &self.record.backup {
                None => format!("rm {file}"),
                Some(backup) => format!("mv {} {file}", backup.display()),
            });
        }
        if let Some(added) = &self.record.added {
            let endpoints = self.record.endpoints.join(",");
            let id = hex_id(added.id);
            back.push(format!("etcdctl --endpoints={endpoints} member remove {id}"));
        }
        if failed >= 2 {
            let mut units = self.record.triggers.clone();
            units.push(options.proxy_unit.clone());
            back.push(format!("systemctl enable --now {}", units.join(" ")));
        }
        if self.record_path.exists() {
            back.push(format!("rm {}", self.record_path.display()));
        }
        if self.plan.voters == Some(1) && !self.record.learner && self.record.added.is_some() {
            back.push(
                "(a cluster that had one member cannot commit the removal before the new one has started)".to_owned(),
            );
        }
        back
    }
}
