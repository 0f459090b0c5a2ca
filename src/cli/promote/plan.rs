//! The steps of a promotion, as shown before anything is done.

use std::fmt;
use std::path::PathBuf;

use super::environment::{UNSET, Variables, assignment};
use super::host::Host;
use super::options::Options;
use super::record::PromotionRecord;

/// Number of steps.
pub(super) const STEPS: usize = 5;

/// A whole promotion.
pub(super) struct Plan<'a> {
    pub(super) options: &'a Options,
    pub(super) host: &'a Host,
    /// The proxy's data, to be removed.
    pub(super) proxy_data: PathBuf,
    /// Variables to write, except those for the member and its cluster.
    pub(super) variables: Variables,
    /// The progress of an earlier run.
    pub(super) record: &'a PromotionRecord,
    /// The proxy's listeners that the member cannot have.
    pub(super) socket_files: Vec<String>,
    /// Number of voters in the cluster now; `None` when it does not answer.
    pub(super) voters: Option<usize>,
}

impl Plan<'_> {
    /// Returns a short description of step `number`.
    pub(super) fn step(&self, number: usize) -> String {
        let Options { name, etcd_unit, proxy_unit, .. } = self.options;
        match number {
            1 => {
                let kind = if self.options.learner { "learner" } else { "member" };
                format!("add {kind} {name}, peer URL {}", self.options.peer_urls.join(","))
            }
            2 => {
                let mut units = self.record.triggers.clone();
                units.push(proxy_unit.clone());
                format!("stop and disable {}", units.join(", "))
            }
            3 => format!("remove {}", self.proxy_data.display()),
            4 => format!("write {}", self.host.file.display()),
            _ => format!("enable and start {etcd_unit}, and wait until {name} has joined"),
        }
    }

    /// Returns the variables for the member and its cluster, as etcdctl prints them.
    pub(super) fn membership(&self) -> Variables {
        let added = self.record.added.as_ref();
        let cluster = added.map_or("(the members, with this one)", |added| &added.initial_cluster);
        named(self.options, cluster)
    }
}

/// Returns the four variables that etcdctl prints.
pub(super) fn named(options: &Options, initial_cluster: &str) -> Variables {
    let pairs = [
        ("ETCD_NAME", options.name.clone()),
        ("ETCD_INITIAL_CLUSTER", initial_cluster.to_owned()),
        ("ETCD_INITIAL_ADVERTISE_PEER_URLS", options.peer_urls.join(",")),
        ("ETCD_INITIAL_CLUSTER_STATE", "existing".to_owned()),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

impl fmt::Display for Plan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for number in 1..=STEPS {
            let done = if number <= self.record.done { " (done)" } else { "" };
            writeln!(f, "  {number}. {}{done}", self.step(number))?;
            if number == 4 && done.is_empty() {
                self.file(f)?;
            }
        }
        self.remarks(f)
    }
}

impl Plan<'_> {
    fn file(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.host.present.text.is_empty() {
            writeln!(f, "     the present file is kept as {}", self.host.backup.display())?;
        }
        for variable in self.membership().iter().chain(&self.variables) {
            write!(f, "       {}", assignment(variable))?;
        }
        let present = &self.host.present.file;
        for name in UNSET.iter().filter(|name| present.value(name).is_some_and(|it| !it.is_empty()))
        {
            writeln!(f, "       #{name}: commented out")?;
        }
        Ok(())
    }

    fn remarks(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for url in &self.socket_files {
            writeln!(
                f,
                "note: {url} is left out, since etcd has no such listeners; clients there need another URL"
            )?;
        }
        if self.record.done > 0 || self.options.learner {
            return Ok(());
        }
        if self.voters == Some(1) {
            writeln!(
                f,
                "note: from step 1 until the new member has started, this cluster of one cannot write: two members need \
                 both. A learner (--learner) is not counted"
            )?;
        } else if self.voters.is_some_and(|voters| voters % 2 == 1) {
            writeln!(
                f,
                "note: an even number of voters tolerates no more failures than one voter less"
            )?;
        }
        Ok(())
    }
}
