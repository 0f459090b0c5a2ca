//! `etcd-proxy promote`: turns this proxy's host into a member of the cluster.
//!
//! [`options`] parses the command; [`host`], [`services`], [`command_line`] and [`readable`]
//! inspect this machine, [`endpoints`] finds the members and [`cluster`] queries them;
//! [`preflight`] raises objections, [`plan`] shows what will be done, [`steps`] does it, and
//! [`record`] keeps the progress. Everything is checked before anything is changed. Standard output
//! has what etcdctl prints; everything else goes to standard error.

mod api;
mod atomic_file;
mod cluster;
mod command_line;
mod endpoints;
mod environment;
mod host;
mod options;
mod plan;
mod preflight;
mod readable;
mod record;
mod services;
mod steps;
mod v2;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::unistd::{AccessFlags, access};

use super::load::{Variables, inputs};
use super::member_or_proxy;
use super::output::{complain, style, usage};
use crate::cluster::member::{Member, MemberList};
use crate::config::{self, Inputs, Loaded};
use crate::tls::configs::{self, Purpose, TlsConfigs};
use cluster::{Cluster, MemberAccess};
use host::Host;
use options::Options;
use plan::Plan;
use record::PromotionRecord;
use services::{Services, Unit};
use steps::Run;

/// Runs the command. Returns 0 when this host is a member or `--dry-run` was given, 64 and 78 as
/// every command, and 1 when the promotion was refused, failed, or lacked `--yes`.
pub(super) fn main(mut rest: Vec<OsString>, env: Variables) -> ExitCode {
    let options = match Options::take(&mut rest, &env) {
        Ok(options) => options,
        Err(problem) => return usage(problem, &env),
    };
    let inputs = inputs(rest, crate::cli::unit::daemon(env).variables);
    let loaded = match config::load(&inputs) {
        Ok(loaded) => loaded,
        Err(problems) => {
            complain(&problems.report(style(&inputs.env), "nothing was done"));
            return ExitCode::from(problems.exit_status());
        }
    };
    let (tls_configs, _) =
        match configs::load(&loaded.settings, &loaded.origins, None, Purpose::Check) {
            Ok(read) => read,
            Err(problems) => {
                complain(&problems.report(style(&inputs.env), "nothing was done"));
                return ExitCode::from(problems.exit_status());
            }
        };
    match promote(&options, &inputs, &loaded, &tls_configs) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            complain(&text);
            ExitCode::FAILURE
        }
    }
}

fn promote(
    options: &Options,
    inputs: &Inputs,
    loaded: &Loaded,
    tls_configs: &TlsConfigs,
) -> Result<(), String> {
    let services = Services::new(&options.systemctl);
    let unit = services.unit(&options.etcd_unit).map_err(error)?;
    let mut host = Host::find(options, &unit).map_err(error)?;
    let settings = &loaded.settings;
    let path = record::path(&settings.data_dir);
    let earlier = record::read(&path).map_err(error)?;
    if let Some(backup) = earlier.as_ref().and_then(|earlier| earlier.backup.clone()) {
        host.backup = backup;
    }
    let known = endpoints::known(settings, earlier.as_ref());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|fault| error(fault.to_string()))?;
    runtime.block_on(async {
        let member_access =
            MemberAccess::new(settings, &tls_configs.upstream, options.user.clone());
        let context = Context {
            options,
            inputs,
            loaded,
            tls_configs,
            services: &services,
            unit,
            host: &host,
            path: &path,
            member_access: &member_access,
        };
        match earlier {
            Some(record) => context.go_on(record).await,
            None => context.begin(known).await,
        }
    })
}

fn error(reason: impl std::fmt::Display) -> String {
    format!("error: {reason}\n")
}

/// Fails if there are objections.
fn refuse_for(reasons: &[String]) -> Result<(), String> {
    if reasons.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = reasons.iter().map(error).collect();
    Err(format!("{}refused, and nothing was done\n", lines.concat()))
}

/// The inputs shared by a first and a second run.
struct Context<'a> {
    options: &'a Options,
    inputs: &'a Inputs,
    loaded: &'a Loaded,
    tls_configs: &'a TlsConfigs,
    services: &'a Services,
    unit: Unit,
    host: &'a Host,
    path: &'a Path,
    member_access: &'a MemberAccess,
}

impl Context<'_> {
    /// Starts a promotion: the first run, with all checks.
    async fn begin(&self, known: Vec<String>) -> Result<(), String> {
        let mut reasons = self.against_host();
        let endpoints = match known.is_empty() {
            true => {
                endpoints::by_peers(&self.loaded.settings, self.tls_configs).await.map_err(error)?
            }
            false => known,
        };
        let (cluster, list) = self.member_access.find(&endpoints, true).await.map_err(error)?;
        reasons.extend(self.against_cluster(&cluster, &list).await);
        refuse_for(&reasons)?;
        let Options { name, peer_urls, learner, .. } = self.options;
        let record = PromotionRecord {
            name: name.clone(),
            peer_urls: peer_urls.clone(),
            learner: *learner,
            endpoints: endpoints::client_urls(&list),
            triggers: self.services.triggers(&self.options.proxy_unit).map_err(error)?,
            ..PromotionRecord::default()
        };
        self.show_and_run(record, Some((cluster, list))).await
    }

    /// Continues a promotion: a later run, with the record of the first one.
    async fn go_on(&self, record: PromotionRecord) -> Result<(), String> {
        let Options { name, peer_urls, learner, .. } = self.options;
        if (&record.name, &record.peer_urls, &record.learner) != (name, peer_urls, learner) {
            let flag = if record.learner { " --learner" } else { "" };
            return Err(error(format!(
                "a promotion with `--name {} --peer-url {}{flag}` has begun here; finish that one, or undo it and remove {}",
                record.name,
                record.peer_urls.join(","),
                self.path.display()
            )));
        }
        // If it is unknown whether the member was added, ask a quorum if there is one: a single
        // member may lag behind.
        let fresh = match record.added {
            None => self.member_access.find(&record.endpoints, true).await.ok(),
            Some(_) => None,
        };
        let found = match fresh {
            Some(found) => Ok(found),
            None => self.member_access.find(&record.endpoints, false).await,
        };
        let found = match found {
            Ok(found) => Some(found),
            Err(reason) if record.added.is_none() => return Err(error(reason)),
            // Without a quorum, as with two members of which one has not started, even a login may
            // fail.
            Err(_) => None,
        };
        if let (Some((_, list)), Some(added)) = (&found, &record.added)
            && !list.members.iter().any(|member| member.id == added.id)
        {
            return Err(error(format!(
                "member {:x}, which an earlier run added, is not in the cluster any more; to start over remove {}",
                added.id,
                self.path.display()
            )));
        }
        if let (Some((cluster, list)), None) = (&found, &record.added)
            && !list.members.iter().any(|member| steps::is_same(&member.peer_urls, peer_urls))
        {
            refuse_for(&self.against_cluster(cluster, list).await)?;
        }
        self.show_and_run(self.with_triggers(record)?, found).await
    }

    /// Returns the objections to adding the member to this cluster.
    async fn against_cluster(&self, cluster: &Cluster<'_>, list: &MemberList) -> Vec<String> {
        let Options { name, peer_urls, learner, .. } = self.options;
        let health = health(cluster, &list.members).await;
        let mut reasons = preflight::against(name, peer_urls, *learner, list, &health);
        if *learner && !cluster.has_v3() {
            reasons.push(
                "a cluster that only speaks v2 has no learners; leave --learner out".to_owned(),
            );
        }
        reasons
    }

    /// Adds units to the record that were enabled since the first run and start the proxy.
    fn with_triggers(&self, mut record: PromotionRecord) -> Result<PromotionRecord, String> {
        for trigger in self.services.triggers(&self.options.proxy_unit).map_err(error)? {
            if !record.triggers.contains(&trigger) {
                record.triggers.push(trigger);
            }
        }
        Ok(record)
    }

    async fn show_and_run(
        &self,
        record: PromotionRecord,
        found: Option<(Cluster<'_>, MemberList)>,
    ) -> Result<(), String> {
        let Options { name, yes, dry_run, .. } = self.options;
        let plan = Plan {
            options: self.options,
            host: self.host,
            proxy_data: self.proxy_data(),
            variables: self.host.variables(self.options, self.loaded),
            record: &record,
            socket_files: host::socket_files(&self.loaded.settings),
            voters: found.as_ref().map(|(_, list)| voters(list)),
        };
        let intro = match &found {
            Some((cluster, list)) => format!(
                "promotion of this host to member {name} of cluster {:x}, through {}:\n",
                list.cluster_id, cluster.url
            ),
            None => format!("promotion of this host to member {name}:\n"),
        };
        complain(&format!("{intro}{plan}"));
        if *dry_run {
            return Ok(());
        }
        if !yes {
            return Err("nothing was done; --yes runs this plan\n".to_owned());
        }
        let run = Run {
            plan: &plan,
            services: self.services,
            member_access: self.member_access,
            record: record.clone(),
            record_path: self.path,
        };
        run.all(found).await?;
        complain(&format!("this host is member {name} now\n"));
        if self.options.learner {
            complain(
                "it has no vote yet: `etcdctl member promote` gives it one when it has caught up\n",
            );
        }
        Ok(())
    }

    fn proxy_data(&self) -> PathBuf {
        self.loaded.settings.data_dir.join("proxy")
    }

    /// Returns the data directories with a member's data. An etcd that was refused when it tried to
    /// join leaves directories in ours, but no write-ahead log.
    fn with_a_member(&self) -> Vec<&Path> {
        let (etcds, own) = (&self.host.data_dir, &self.loaded.settings.data_dir);
        let mut directories = Vec::new();
        if etcds != own && etcds.join("member").exists() {
            directories.push(etcds.as_path());
        }
        if member_or_proxy::has_joined(self.inputs, self.loaded) {
            directories.push(own);
        }
        directories
    }

    /// Returns the objections to making this machine a member.
    fn against_host(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        let unit = &self.options.etcd_unit;
        if !self.unit.is_there {
            reasons.push(format!("there is no {unit} on this host; install etcd's server first"));
        } else if self.unit.is_running() {
            reasons.push(format!("{unit} is {} already; stop it first", self.unit.state));
        }
        for directory in self.with_a_member() {
            reasons.push(format!(
                "{} exists, so this host is or was a member; move it away if its data is not needed",
                directory.join("member").display()
            ));
        }
        reasons.extend(self.host.ignores_variables(&self.unit));
        let mut variables = self.host.variables(self.options, self.loaded);
        variables.extend(plan::named(self.options, ""));
        reasons.extend(self.host.in_the_way(&self.unit, unit, &variables));
        reasons.extend(self.host.without_certificate(&variables));
        reasons.extend(unwritable(self.host.file.parent()));
        reasons.extend(unwritable(Some(&self.loaded.settings.data_dir)));
        reasons.dedup();
        reasons
    }
}

/// Returns why the directory cannot be written to. For a missing directory, its parent is checked.
fn unwritable(directory: Option<&Path>) -> Option<String> {
    let directory = directory?;
    if !directory.exists() {
        return unwritable(directory.parent());
    }
    let refused = access(directory, AccessFlags::W_OK).err()?;
    Some(format!("cannot write to {}: {}; run this as root", directory.display(), refused.desc()))
}

fn voters(list: &MemberList) -> usize {
    list.members.iter().filter(|member| !member.is_learner).count()
}

/// Checks the health of all members in turn: there are few, and each check has a time limit.
async fn health(cluster: &Cluster<'_>, members: &[Member]) -> Vec<preflight::Health> {
    let mut health = Vec::new();
    for member in members {
        health.push(cluster.health(member).await.err());
    }
    health
}
