//! A real DNS server, and a `resolv.conf` that points to it.

use std::net::UdpSocket;
use std::path::PathBuf;
use std::sync::Mutex;

use super::process::{self, Process};
use super::scratch::Scratch;
use super::tools;

/// A dnsmasq on port 53 of its own loopback address that answers for `example.test` alone.
pub struct Dns {
    address: String,
    /// TTL of its answers, in seconds.
    ttl: u32,
    running: Mutex<Option<Process>>,
    scratch: Scratch,
}

impl Dns {
    /// Starts it with these configuration lines; `None` without dnsmasq or without root.
    pub fn start(lines: &[String]) -> Option<Self> {
        Self::start_with_ttl(lines, 1)
    }

    /// Like [`Self::start`], with a TTL in seconds for its answers.
    pub fn start_with_ttl(lines: &[String], ttl: u32) -> Option<Self> {
        tools::find("dnsmasq").filter(|_| tools::is_root())?;
        let scratch = Scratch::new("dns");
        let dns = Self { address: free_address(), ttl, running: Mutex::new(None), scratch };
        std::fs::write(dns.resolver(), format!("nameserver {}\noptions timeout:1\n", dns.address))
            .expect("a resolv.conf");
        dns.answer(lines);
        Some(dns)
    }

    /// Returns the path of a `resolv.conf` that names this server.
    pub fn resolver(&self) -> PathBuf {
        self.scratch.join("resolv.conf")
    }

    /// Restarts it with these configuration lines.
    pub fn answer(&self, lines: &[String]) {
        let configuration = self.scratch.join("dnsmasq.conf");
        std::fs::write(&configuration, lines.join("\n")).expect("a configuration");
        let mut command = process::command(tools::find("dnsmasq").expect("it was there"));
        command.args([
            "--no-daemon",
            "--no-resolv",
            "--no-hosts",
            "--bind-interfaces",
            "--user=root",
        ]);
        command.args(["--group=root", "--pid-file", "--local=/example.test/", "--log-queries"]);
        command.arg(format!("--local-ttl={}", self.ttl));
        command.arg(format!("--listen-address={}", self.address));
        command.arg(format!("--conf-file={}", configuration.display()));
        self.stop();
        let process = Process::start("dnsmasq", command);
        assert!(process.wait_for_line("started", super::PATIENCE).is_some(), "{}", process.tail());
        *self.running.lock().expect("dnsmasq") = Some(process);
    }

    /// Counts the queries for this name's SRV records since the answers last changed.
    pub fn queries(&self, name: &str) -> usize {
        let running = self.running.lock().expect("dnsmasq");
        let lines = running.as_ref().map(Process::lines).unwrap_or_default();
        let query = format!("query[SRV] {name} ");
        lines.iter().filter(|line| line.contains(&query)).count()
    }

    /// Ends it, so that queries are refused.
    pub fn stop(&self) {
        *self.running.lock().expect("dnsmasq") = None;
    }
}

/// Returns a loopback address on whose port 53 nobody listens.
fn free_address() -> String {
    for _ in 0..1000 {
        let address =
            format!("127.{}.{}.{}", fastrand::u8(64..), fastrand::u8(..), fastrand::u8(1..255));
        if UdpSocket::bind((address.as_str(), 53)).is_ok() {
            return address;
        }
    }
    panic!("no loopback address with a free port 53");
}
