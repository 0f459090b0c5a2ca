//! TLS on either side of the daemon, with clusters that demand client certificates on both ports.

mod clients;
mod common_name;
mod faults;
mod matrix;
mod parity;
mod refused;
mod reload;
mod sentences;
mod upstream;

use std::path::Path;
use std::sync::LazyLock;

use crate::fixture::Fixture;
use crate::support::cluster::Cluster;
use crate::support::etcdctl::Etcdctl;
use crate::support::generation::Generation;
use crate::support::proxy::{Plan, Proxy};
use crate::support::scratch::Scratch;
use crate::support::tls::{Authority, ClientFiles, Dialer, Identity, Leaf};

/// The keys of a daemon's listeners and their clients: one authority that signs both, and their
/// files.
pub struct Pki {
    /// The authority that signs all certificates.
    pub authority: Authority,
    /// The certificate of the clients.
    pub client: Identity,
    /// The same in files, for programs.
    pub client_files: ClientFiles,
    /// How test clients connect to a listener.
    pub dialer: Dialer,
    flags: Vec<String>,
    scratch: Scratch,
}

impl Pki {
    /// Makes all of it in a new directory.
    pub fn new() -> Self {
        let scratch = Scratch::new("pki");
        let authority = Authority::new("clients");
        let trusted = scratch.join("clients.pem");
        std::fs::write(&trusted, authority.pem()).expect("the authority's file");
        let server = authority.issue(&Leaf::loopback()).write(scratch.path(), "server");
        let client = authority.issue(&Leaf::client());
        let files = client.write(scratch.path(), "client");
        let flags = vec![
            format!("--cert-file={}", server.certificate.display()),
            format!("--key-file={}", server.key.display()),
            format!("--trusted-ca-file={}", trusted.display()),
            "--client-cert-auth".to_owned(),
        ];
        let client_files = ClientFiles { authority: trusted, identity: Some(files) };
        let dialer = Dialer::tls(&[&authority], Some(&client));
        Self { authority, client, client_files, dialer, flags, scratch }
    }

    /// Returns the directory of its files.
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    /// Makes a daemon listen with https and demand certificates of this authority.
    pub fn listening(&self, plan: Plan) -> Plan {
        let flags: Vec<_> = self.flags.iter().map(String::as_str).collect();
        plan.https(&self.dialer).arguments(&flags)
    }
}

/// Gives a daemon the certificate and the authority for the members and peers of a cluster with
/// TLS.
pub fn towards(cluster: &Cluster, plan: Plan) -> Plan {
    let flags = towards_flags(cluster);
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    plan.arguments(&flags)
}

/// Returns the flags of [`towards`].
pub fn towards_flags(cluster: &Cluster) -> Vec<String> {
    let (trusted, identity) = (&cluster.client_files().authority, cluster.client_identity());
    let mut flags = Vec::new();
    for side in ["upstream", "peer"] {
        flags.push(format!("--{side}-trusted-ca-file={}", trusted.display()));
        flags.push(format!("--{side}-cert-file={}", identity.certificate.display()));
        flags.push(format!("--{side}-key-file={}", identity.key.display()));
    }
    flags
}

/// A cluster with TLS, and daemons with TLS on one side or both. Tests share it and use only keys
/// below their own names.
pub struct TlsFixture {
    /// Members that demand certificates on both ports.
    pub secured: Cluster,
    /// The keys of the listeners.
    pub pki: Pki,
    /// Listens by http in front of [`TlsFixture::secured`].
    pub http_to_https: Proxy,
    /// Listens by https in front of a cluster without TLS.
    pub https_to_http: Proxy,
    /// TLS on both sides.
    pub https_to_https: Proxy,
}

/// One daemon of a fixture, and how clients reach it.
pub struct Way<'a> {
    /// Its name, such as `http to https`.
    pub name: &'static str,
    pub proxy: &'a Proxy,
    /// How test clients connect.
    pub dialer: Dialer,
    /// The files for programs; `None` without TLS.
    pub files: Option<&'a ClientFiles>,
}

impl TlsFixture {
    fn new(generation: Generation) -> Self {
        let pki = Pki::new();
        let secured = Cluster::planned(generation, 3).secured(&Authority::new("cluster"));
        secured.start_all();
        let plain = &Fixture::shared(generation).cluster;
        let http_to_https = towards(&secured, Proxy::before(&secured)).start();
        let https_to_http = pki.listening(Proxy::before(plain)).start();
        let https_to_https = pki.listening(towards(&secured, Proxy::before(&secured))).start();
        Self { secured, pki, http_to_https, https_to_http, https_to_https }
    }

    /// Returns the fixture that the tests of an etcd version share.
    pub fn shared(generation: Generation) -> &'static Self {
        static V3_4: LazyLock<TlsFixture> = LazyLock::new(|| TlsFixture::new(Generation::V3_4));
        static V3_5: LazyLock<TlsFixture> = LazyLock::new(|| TlsFixture::new(Generation::V3_5));
        static V3_6: LazyLock<TlsFixture> = LazyLock::new(|| TlsFixture::new(Generation::V3_6));
        static V3_7: LazyLock<TlsFixture> = LazyLock::new(|| TlsFixture::new(Generation::V3_7));
        match generation {
            Generation::V3_4 => &V3_4,
            Generation::V3_5 => &V3_5,
            Generation::V3_6 => &V3_6,
            Generation::V3_7 => &V3_7,
        }
    }

    /// Returns all three daemons.
    pub fn ways(&self) -> [Way<'_>; 3] {
        let tls = Some(&self.pki.client_files);
        let way = |name, proxy, files: Option<_>| Way {
            name,
            proxy,
            dialer: if files.is_some() { self.pki.dialer.clone() } else { Dialer::plain() },
            files,
        };
        [
            way("http to https", &self.http_to_https, None),
            way("https to http", &self.https_to_http, tls),
            way("https to https", &self.https_to_https, tls),
        ]
    }
}

impl Way<'_> {
    /// Returns an etcdctl that talks to this daemon.
    pub fn etcdctl(&self, generation: Generation) -> Etcdctl {
        self.prepared(self.proxy.etcdctl(generation))
    }

    /// Returns an etcdctl of the v2 API that talks to this daemon.
    pub fn etcdctl_v2(&self, generation: Generation) -> Etcdctl {
        self.prepared(self.proxy.etcdctl_v2(generation))
    }

    fn prepared(&self, etcdctl: Etcdctl) -> Etcdctl {
        match self.files {
            Some(files) => etcdctl.secured(files),
            None => etcdctl,
        }
    }
}
