//! TLS on either side of the daemon, with clusters that ask for client certificates on both ports.

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

/// What a daemon and its clients need: one authority that signs both, and their files.
pub struct Pki {
    /// Signs everything.
    pub authority: Authority,
    /// What clients show.
    pub client: Identity,
    /// The same as files, for programs.
    pub client_files: ClientFiles,
    /// How test clients connect to a listener.
    pub dialer: Dialer,
    flags: Vec<String>,
    scratch: Scratch,
}

impl Pki {
    /// Makes all of it in a directory of its own.
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

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    /// A daemon that listens by https and demands certificates of this authority.
    pub fn listening(&self, plan: Plan) -> Plan {
        let flags: Vec<_> = self.flags.iter().map(String::as_str).collect();
        plan.https(&self.dialer).arguments(&flags)
    }
}

/// What the daemon shows members and peers of a cluster with TLS, and whom it trusts there.
pub fn towards(cluster: &Cluster, plan: Plan) -> Plan {
    let flags = towards_flags(cluster);
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    plan.arguments(&flags)
}

/// The flags of [`towards`].
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

/// A cluster with TLS, and daemons with TLS on one side or both; tests share it and keep to keys
/// below their own names.
pub struct TlsFixture {
    /// Members that ask for certificates on both ports.
    pub secured: Cluster,
    /// Of the listeners.
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
    /// `http to https` and so on.
    pub name: &'static str,
    /// The daemon.
    pub proxy: &'a Proxy,
    /// How test clients connect.
    pub dialer: Dialer,
    /// What programs need; `None` in the clear.
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

    /// The fixture that tests of a generation share.
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

    /// All three daemons.
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
    /// An etcdctl that goes this way.
    pub fn etcdctl(&self, generation: Generation) -> Etcdctl {
        self.prepared(self.proxy.etcdctl(generation))
    }

    /// An etcdctl of the v2 API that goes this way.
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
