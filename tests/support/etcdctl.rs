//! etcd's own command line client, of the cluster's generation.

use std::process::Command;

use super::generation::Generation;
use super::process::{self, Process};
use super::scratch::Scratch;
use super::tls::ClientFiles;

/// An etcdctl with its endpoint set.
#[derive(Clone)]
pub struct Etcdctl {
    generation: Generation,
    /// `3` or `2`.
    api: &'static str,
    first: Vec<String>,
}

impl Etcdctl {
    /// For the v3 API; endpoints as `HOST:PORT,HOST:PORT`.
    pub fn v3(generation: Generation, endpoints: &str) -> Self {
        Self { generation, api: "3", first: vec![format!("--endpoints={endpoints}")] }
    }

    /// For the v2 API, which 3.4's and 3.5's etcdctl speak. It asks the endpoint itself, and not
    /// the members it advertises.
    pub fn v2(generation: Generation, endpoint: &str) -> Self {
        Self {
            generation,
            api: "2",
            first: vec!["--no-sync".to_owned(), format!("--endpoints=http://{endpoint}")],
        }
    }

    /// For the v2 API as people use it: the member list is asked for first, and then the members
    /// that it names.
    pub fn v2_with_sync(generation: Generation, endpoint: &str) -> Self {
        Self { generation, api: "2", first: vec![format!("--endpoints=http://{endpoint}")] }
    }

    /// Adds a flag that every command gets, such as `--user=root:pw`.
    pub fn with(mut self, flag: &str) -> Self {
        self.first.push(flag.to_owned());
        self
    }

    /// Speaks TLS to the same endpoints, trusting and showing what these files hold.
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

    /// Runs a command that must succeed and gives its standard output.
    pub fn run(&self, arguments: &[&str]) -> String {
        self.try_run(arguments).unwrap_or_else(|error| panic!("etcdctl {arguments:?}: {error}"))
    }

    /// Runs a command; standard output when it succeeds, else both streams.
    pub fn try_run(&self, arguments: &[&str]) -> Result<String, String> {
        self.finish(self.command(arguments))
    }

    /// Runs a command with a text on its standard input.
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> String {
        let scratch = Scratch::new("input");
        std::fs::write(scratch.join("text"), input).expect("a file for the input");
        let mut command = self.command(arguments);
        command.stdin(std::fs::File::open(scratch.join("text")).expect("the input's file"));
        self.finish(command).unwrap_or_else(|error| panic!("etcdctl {arguments:?}: {error}"))
    }

    /// Starts a command that goes on, such as `watch`.
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
