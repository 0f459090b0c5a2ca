//! A daemon with a certificate and without members, and a client that speaks TLS to it.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::proxy::Proxy;
use crate::support::scratch::Scratch;
use crate::support::tls::{Authority, Identity, Leaf, replace};
use crate::support::{PATIENCE, port};

/// A request for a page that the daemon answers without a member.
const PAGE: &[u8] =
    b"GET /v2/config/local/proxy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// A daemon whose listeners have a certificate. It has no members.
pub(super) struct Fixture {
    pub(super) scratch: Scratch,
    pub(super) authority: Authority,
    pub(super) proxy: Option<Proxy>,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let fixture =
            Self { scratch: Scratch::new("tls"), authority: Authority::new("ca"), proxy: None };
        fixture.authority.issue(&Leaf::loopback()).write(fixture.directory(), "server");
        replace(&fixture.path("ca.pem"), fixture.authority.pem());
        fixture
    }

    pub(super) fn directory(&self) -> &Path {
        self.scratch.path()
    }

    pub(super) fn path(&self, name: &str) -> std::path::PathBuf {
        self.scratch.join(name)
    }

    /// Starts the daemon on this URL with further settings. DIR in both stands for the directory of
    /// the files.
    pub(super) async fn serve(&mut self, url: &str, more: &str) -> &Proxy {
        self.put_settings(url, more);
        let file = self.path("p.toml").display().to_string();
        let plan = Proxy::with_peers("").bare();
        let proxy = plan.arguments(&["--config-file", &file, "--data-dir", "data"]).spawn();
        let listening = proxy.process.wait_for_line("serving clients", PATIENCE);
        assert!(listening.is_some(), "{}", proxy.story());
        self.proxy.insert(proxy)
    }

    pub(super) fn put_settings(&self, url: &str, more: &str) {
        let text = format!(
            "listen-client-urls = \"{url}\"\ninitial-cluster = \"http://127.0.0.1:1\"\nworkers = 2\n\
             cert-file = \"DIR/server.pem\"\nkey-file = \"DIR/server.key\"\n{more}"
        );
        replace(
            &self.path("p.toml"),
            &text.replace("DIR", &self.directory().display().to_string()),
        );
    }

    pub(super) fn client(&self) -> Client<'_> {
        Client { trusts: &self.authority, shows: None, versions: rustls::ALL_VERSIONS }
    }
}

/// A client that speaks TLS.
#[derive(Clone, Copy)]
pub(super) struct Client<'a> {
    pub(super) trusts: &'a Authority,
    pub(super) shows: Option<&'a Identity>,
    pub(super) versions: &'a [&'static SupportedProtocolVersion],
}

impl Client<'_> {
    pub(super) fn connector(&self, alpn: &[&str]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.trusts.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match self.shows {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain =
                    CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![chain], key).unwrap()
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config).into()
    }

    pub(super) async fn connect(
        &self,
        address: &str,
        alpn: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await?;
        self.connector(alpn).connect(ServerName::try_from("127.0.0.1").unwrap(), stream).await
    }

    /// Fetches the page over HTTP/1.1. In TLS 1.3 the server's refusal of a client's certificate
    /// comes only after the handshake.
    pub(super) async fn ask(&self, address: &str) -> std::io::Result<String> {
        let mut stream = self.connect(address, &["http/1.1"]).await?;
        page(&mut stream).await
    }
}

pub(super) async fn page(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> std::io::Result<String> {
    stream.write_all(PAGE).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Returns an address for the daemon to listen on.
pub(super) fn address() -> String {
    format!("127.0.0.1:{}", port::free())
}

pub(super) fn agreed(stream: &TlsStream<TcpStream>) -> Option<&str> {
    stream.get_ref().1.alpn_protocol().map(|name| str::from_utf8(name).unwrap())
}
