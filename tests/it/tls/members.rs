//! Members that speak TLS, and the effect of TLS failures on a request.

use std::io::Write;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::support::grpc::Channel;
use crate::support::members::http2::framed;
use crate::support::members::{CLUSTER, Conduct, Members, header, start};
use crate::support::peer::Reply;
use crate::support::proxy::Proxy;
use crate::support::rpc::PUT;
use crate::support::scratch::Scratch;
use crate::support::tls::{Authority, Leaf, replace};
use crate::support::{http1, run, shared};

/// A record that nobody can decrypt, as if 32 bytes of application data had been damaged on their
/// way.
const DAMAGED: [u8; 37] = {
    let mut record = [7; 37];
    [record[0], record[1], record[2], record[3], record[4]] = [0x17, 3, 3, 0, 32];
    record
};

/// Two members with TLS that hand their connections to the test, and a daemon in front of them.
struct Site {
    members: Members,
    proxy: Proxy,
    acceptor: TlsAcceptor,
    _scratch: Scratch,
}

impl Site {
    async fn start() -> Self {
        let (scratch, authority) = (Scratch::new("tls-members"), Authority::new("ca"));
        replace(&scratch.join("ca.pem"), authority.pem());
        let members = Members::start(2).await;
        members.set_all(Conduct::Raw);
        let list = members.list().replace("\"clientURLs\":[\"http:", "\"clientURLs\":[\"https:");
        members.peer().set(Reply::members("cafe", &list));
        let trusted = scratch.join("ca.pem").display().to_string();
        let plan = members.plan().arguments(&["--upstream-trusted-ca-file", &trusted]);
        let proxy = start(plan).await;
        let identity = authority.issue(&Leaf::loopback());
        let chain = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![chain], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor: TlsAcceptor = Arc::new(config).into();
        let mut site = Self { members, proxy, acceptor, _scratch: scratch };
        for _ in 0..2 {
            let (member, _) = site.accept().await;
            tokio::spawn(prove(member));
        }
        site.members.until_proved(&site.proxy).await;
        site
    }

    /// Accepts the next connection. Returns the TLS stream, and the TCP stream below it.
    async fn accept(&mut self) -> (TlsStream<TcpStream>, std::net::TcpStream) {
        let (_, stream) = self.members.raw().await;
        let stream = stream.into_std().unwrap();
        let below = stream.try_clone().unwrap();
        let stream = TcpStream::from_std(stream).unwrap();
        let tls = self.acceptor.accept(stream).await.expect("a handshake");
        (tls, below)
    }
}

/// Answers the proof request on a connection and keeps the connection open.
async fn prove(member: TlsStream<TcpStream>) {
    let mut connection = h2::server::handshake(member).await.unwrap();
    let mut answers = Vec::new();
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        let head = http::Response::builder().header("content-type", "application/grpc");
        let mut stream = respond.send_response(head.body(()).unwrap(), false).unwrap();
        stream.send_data(framed(&header(CLUSTER)), false).unwrap();
        answers.push(stream);
    }
}

/// Reads a request up to the end of a body that ends in `last`.
async fn read_until(stream: &mut TlsStream<TcpStream>, last: &str) {
    let mut seen = Vec::new();
    while !seen.ends_with(last.as_bytes()) {
        assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0, "the request ends early");
    }
}

#[test]
fn a_write_is_seen_once_when_tls_breaks_before_its_answer() {
    let _machine = shared();
    run(async {
        let mut site = Site::start().await;
        for was_kept in [false, true] {
            let mut client = http1::Connection::open(&site.proxy.address).await.unwrap();
            let (mut member, mut below) = if was_kept {
                client.send_request("GET", "/version", &[], "").await.unwrap();
                let (mut member, below) = site.accept().await;
                read_until(&mut member, "\r\n\r\n").await;
                member.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
                assert_eq!(client.head().await.unwrap().status, 200);
                client.send_request("PUT", "/v2/keys/a", &[], "value=x").await.unwrap();
                (member, below)
            } else {
                client.send_request("PUT", "/v2/keys/a", &[], "value=x").await.unwrap();
                // The first request asks whether the member speaks HTTP.
                let (mut member, _) = site.accept().await;
                read_until(&mut member, "\r\n\r\n").await;
                let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
                member.write_all(answer).await.unwrap();
                site.accept().await
            };
            read_until(&mut member, "value=x").await;
            below.write_all(&DAMAGED).unwrap();
            let head = client.head().await.unwrap();
            assert_eq!(head.status, 502, "on a kept connection: {was_kept}");
            assert!(site.members.is_quiet(), "the write was sent again");
        }
    });
}

#[test]
fn a_grpc_write_is_seen_once_when_tls_breaks_before_its_answer() {
    let _machine = shared();
    run(async {
        let mut site = Site::start().await;
        let channel = Channel::open(&site.proxy.address).await.unwrap();
        let called = tokio::spawn(async move { channel.unary_bytes(PUT, b"hello").await });
        let (member, mut below) = site.accept().await;
        let mut connection = h2::server::handshake(member).await.unwrap();
        let (request, _answer) = connection.accept().await.unwrap().unwrap();
        let driver =
            tokio::spawn(async move { while let Some(Ok(_)) = connection.accept().await {} });
        let mut body = request.into_body();
        while let Some(data) = body.data().await {
            let _ = body.flow_control().release_capacity(data.unwrap().len());
        }
        below.write_all(&DAMAGED).unwrap();
        let failure = called.await.unwrap().unwrap_err();
        assert_eq!(failure.code(), Some(14));
        assert!(failure.to_string().contains("the connection to the member was lost"), "{failure}");
        assert!(site.members.is_quiet(), "the write was sent again");
        driver.abort();
    });
}
