//! etcd's own command line client, of the same version as the cluster.

use std::process::Command;

use super::generation::Generation;
use super::process::{self, Process};
use super::scratch::Scratch;
use super::tls::ClientFiles;

/// An etcdctl with its endpoint set.
#[derive(Clone)]
pub struct Etcdctl {
    generation: Generation,
    /// The value of `ETCDCTL_API`: `3` or `2`.
    api: &'static str,
    first: Vec<String>,
}

impl Etcdctl {
    /// Uses the v3 API. Endpoints are written `HOST:PORT,HOST:PORT`.
    pub fn v3(generation: Generation, endpoints: &str) -> Self {
        Self { generation, api: "3", first: vec![format!("--endpoints={endpoints}")] }
    }

    /// Uses the v2 API, which the etcdctl of 3.4 and 3.5 speaks. It asks the endpoint itself and
    /// not the members that the endpoint advertises (`--no-sync`).
    pub fn v2(generation: Generation, endpoint: &str) -> Self {
        Self {
            generation,
            api: "2",
            first: vec!["--no-sync".to_owned(), format!("--endpoints=http://{endpoint}")],
        }
    }

    /// Uses the v2 API with etcdctl's default: it asks for the member list first, and then talks to
    /// the members in it.
    pub fn v2_with_sync(generation: Generation, endpoint: &str) -> Self {
        Self { generation, api: "2", first: vec![format!("--endpoints=http://{endpoint}")] }
    }

    /// Adds a flag to every command, such as `--user=root:pw`.
    pub fn with(mut self, flag: &str) -> Self {
        self.first.push(flag.to_owned());
        self
    }

    /// Uses TLS to the same endpoints, with the authority and the certificate of these files.
    pub fn secured(mut self, files: &ClientFiles) -> Self {
        let endpoints = self.first.iter().find_map(|flag| flag.strip_prefix("--endpoints="));
        let hosts = endpoints.unwrap_or_default().replace("http://", "");
        let urls: Vec<_> = hosts.split(',').map(|host| format!("https://{host}")).collect();
        self.first.retain(|flag| !flag.starts_with("--endpoints="));
        self.first.push(format!("--endpoints={}", urls.join(",")));
        let [authority, certificate, key] = match self.api {
            "2" => ["ca-file", "cert-file", "key-file"],
            _ => ["cacert", "cert", "key"],
        };
        self.first.push(format!("--{authority}={}", files.authority.display()));
        if let Some(identity) = &files.identity {
            self.first.push(format!("--{certificate}={}", identity.certificate.display()));
            self.first.push(format!("--{key}={}", identity.key.display()));
        }
        self
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = process::command(self.generation.etcdctl());
        if self.generation.has_v2() {
            command.env("ETCDCTL_API", self.api);
        }
        command.args(&self.first).args(arguments);
        command
    }

    /// Runs a command that must succeed and returns its standard output.
    pub fn run(&self, arguments: &[&str]) -> String {
        self.try_run(arguments).unwrap_or_else(|error| panic!("etcdctl {arguments:?}: {error}"))
    }

    /// Runs a command. Returns its standard output if it succeeds, and both streams if it fails.
    pub fn try_run(&self, arguments: &[&str]) -> Result<String, String> {
        self.finish(self.command(arguments))
    }

    /// Runs a command with `input` on its standard input.
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> String {
        let scratch = Scratch::new("input");
        std::fs::write(scratch.join("text"), input).expect("a file for the input");
        let mut command = self.command(arguments);
        command.stdin(std::fs::File::open(scratch.join("text")).expect("the input's file"));
        self.finish(command).unwrap_or_else(|error| panic!("etcdctl {arguments:?}: {error}"))
    }

    /// Starts a command that keeps running, such as `watch`.
    pub fn start(&self, arguments: &[&str]) -> Process {
        Process::start(&format!("etcdctl {}", arguments.join(" ")), self.command(arguments))
    }

    fn finish(&self, command: Command) -> Result<String, String> {
        let output = process::output(command);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        Err(format!("{text}{}", String::from_utf8_lossy(&output.stderr)))
    }
}
