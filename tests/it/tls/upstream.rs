//! Members with TLS, while client certificates, authorities and revocation lists change under
//! requests to them.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::support::grpc::Channel;
use crate::support::http1::Connection;
use crate::support::members::http2::framed;
use crate::support::members::{CLUSTER, header};
use crate::support::peer::{Peer, Reply};
use crate::support::proxy::{Plan, Proxy};
use crate::support::scratch::Scratch;
use crate::support::tls::{Authority, Files, Identity, Leaf, replace};
use crate::support::{PATIENCE, port, run, run_within};

/// A request to the member: its path, and the certificate that its connection had shown.
type Seen = (String, Vec<u8>);

/// A member that asks for certificates, answers everything, and records each request. Watches stay
/// open.
struct Member {
    peer: Peer,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
}

impl Member {
    async fn start(authority: &Authority) -> Self {
        let port = port::free();
        let list = format!(
            "[{{\"id\":1,\"peerURLs\":[\"http://127.0.0.1:1\"],\"name\":\"m\",\"clientURLs\":[\"https://127.0.0.1:{port}\"]}}]\n"
        );
        let peer = Peer::start(Reply::members("cafe", &list));
        let member = Self { peer, seen: Arc::default(), connections: Arc::default() };
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a port");
        let (acceptor, seen) = (acceptor(authority), member.seen.clone());
        let connections = member.connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream, acceptor.clone(), seen.clone()));
            }
        });
        member
    }

    fn plan(&self) -> Plan {
        let plan = Proxy::with_peers(&format!("m={}", self.peer.url));
        plan.arguments(&["--health-interval", "0", "--workers", "1"])
    }

    /// Returns the certificate that came with the newest request to a path.
    fn shown_for(&self, path: &str) -> Vec<u8> {
        let seen = self.seen.lock().expect("seen");
        let newest = seen.iter().rev().find(|(asked, _)| asked == path);
        newest.unwrap_or_else(|| panic!("nobody asked for {path}")).1.clone()
    }
}

fn acceptor(authority: &Authority) -> TlsAcceptor {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let own = authority.issue(&Leaf::loopback());
    let certificate = CertificateDer::from_pem_slice(own.certificate.as_bytes()).unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(
            vec![certificate],
            PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config).into()
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, seen: Arc<Mutex<Vec<Seen>>>) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let session = stream.get_ref().1;
    let shown = session.peer_certificates().map_or_else(Vec::new, |chain| chain[0].to_vec());
    let is_http2 = session.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request: Request<Incoming>| {
        let path = request.uri().path().to_owned();
        let asks_cluster =
            request.headers().get("etcd-proxy-hop").is_some_and(|hop| hop == "proof");
        if !asks_cluster {
            seen.lock().expect("seen").push((path.clone(), shown.clone()));
        }
        async move {
            if asks_cluster {
                let answer = Response::builder().header("content-type", "application/grpc");
                return Ok(answer.body(framed(&header(CLUSTER)).into()).unwrap());
            }
            if path.ends_with("/Watch") {
                std::future::pending::<()>().await;
            }
            let response = Response::builder().header("grpc-status", "0");
            let response = response.header("content-type", "application/grpc");
            Ok::<_, Infallible>(response.body(Full::<Bytes>::default()).unwrap())
        }
    });
    let io = TokioIo::new(stream);
    // How the connection ends does not matter here.
    let _ = match is_http2 {
        true => http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await,
        false => http1::Builder::new().serve_connection(io, service).await,
    };
}

/// The files that the daemon uses towards the member, which change.
struct Shown {
    scratch: Scratch,
    files: Files,
    flags: [String; 3],
}

impl Shown {
    fn new(authority: &Authority, first: &Identity) -> Self {
        let scratch = Scratch::new("upstream");
        let files = first.write(scratch.path(), "shown");
        let trusted = scratch.join("trusted.pem");
        replace(&trusted, authority.pem());
        let flags = [
            format!("--upstream-cert-file={}", files.certificate.display()),
            format!("--upstream-key-file={}", files.key.display()),
            format!("--upstream-trusted-ca-file={}", trusted.display()),
        ];
        Self { scratch, files, flags }
    }

    fn plan(&self, plan: Plan) -> Plan {
        plan.arguments(&self.flags.each_ref().map(String::as_str))
    }
}

/// Makes a request for `/version` over HTTP/1.1, a unary call and a watch on these connections.
/// Returns the certificate that came with each.
async fn ask_in_all_ways(member: &Member, http1: &mut Connection, grpc: &Channel) -> [Vec<u8>; 3] {
    const WATCH: &str = "/etcdserverpb.Watch/Watch";
    http1.exchange("GET", "/version", &[], "").await.expect("an answer");
    let _ = grpc.unary_bytes("/etcdserverpb.KV/Range", b"").await;
    let watches = || member.seen.lock().expect("seen").iter().filter(|it| it.0 == WATCH).count();
    let before = watches();
    let call = grpc.call(WATCH).await.expect("a stream");
    while watches() == before {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The watch stays open, and must not keep its connection in use for other requests.
    std::mem::forget(call);
    ["/version", "/etcdserverpb.KV/Range", WATCH].map(|path| member.shown_for(path))
}

#[test]
fn a_new_certificate_is_what_every_request_after_the_change_comes_with() {
    run_within(PATIENCE * 2, async {
        let authority = Authority::new("cluster");
        let member = Member::start(&authority).await;
        let [old, new] = [0, 1].map(|_| authority.issue(&Leaf::client()));
        let shown = Shown::new(&authority, &old);
        let proxy = shown.plan(member.plan()).start();
        let mut http1 = Connection::open(&proxy.address).await.expect("a connection");
        let grpc = Channel::open(&proxy.address).await.expect("a connection");
        for round in 0..2 {
            let seen = ask_in_all_ways(&member, &mut http1, &grpc).await;
            assert!(seen.iter().all(|seen| *seen == old.der()), "round {round}");
        }
        new.write_to(&shown.files);
        let (said, fine) = proxy.command(&["reload"]);
        assert!(fine, "{said}");
        let line = proxy.process.wait_for_line("upstream-cert-file: ", PATIENCE);
        assert!(line.is_some(), "{}", proxy.story());
        let seen = ask_in_all_ways(&member, &mut http1, &grpc).await;
        for (seen, way) in seen.iter().zip(["HTTP/1.1", "a unary call", "a stream"]) {
            assert!(*seen == new.der(), "{way} still comes with the old certificate");
        }
    });
}

/// A member's certificate must be from an authority that is trusted now, even on connections that
/// were open before the change.
#[test]
fn a_member_that_is_trusted_no_more_gets_no_request_after_the_change() {
    run_within(PATIENCE * 2, async {
        let authority = Authority::new("cluster");
        let member = Member::start(&authority).await;
        let shown = Shown::new(&authority, &authority.issue(&Leaf::client()));
        let proxy = shown.plan(member.plan()).start();
        let mut http1 = Connection::open(&proxy.address).await.expect("a connection");
        let answer = http1.exchange("GET", "/version", &[], "").await.expect("an answer");
        assert_eq!(answer.status, 200);
        replace(&shown.scratch.join("trusted.pem"), Authority::new("another").pem());
        let (said, fine) = proxy.command(&["reload"]);
        assert!(fine, "{said}");
        let answer = http1.exchange("GET", "/version", &[], "").await.expect("an answer");
        assert_eq!(answer.status, 502, "{}", answer.text());
    });
}

#[test]
fn nothing_changes_for_connections_when_the_same_files_are_read_again() {
    run(async {
        let authority = Authority::new("cluster");
        let member = Member::start(&authority).await;
        let shown = Shown::new(&authority, &authority.issue(&Leaf::client()));
        let proxy = shown.plan(member.plan()).start();
        let mut http1 = Connection::open(&proxy.address).await.expect("a connection");
        http1.exchange("GET", "/version", &[], "").await.expect("an answer");
        let before = member.connections.load(Ordering::Relaxed);
        assert!(proxy.command(&["reload"]).1);
        let answer = http1.exchange("GET", "/version", &[], "").await.expect("an answer");
        assert_eq!(answer.status, 200);
        let connections = member.connections.load(Ordering::Relaxed);
        assert_eq!(connections, before, "{}", proxy.story());
    });
}

/// The system's bundle of authorities is watched like a file that a setting names.
#[test]
fn the_machines_bundle_is_read_again_when_it_changes() {
    run_within(PATIENCE * 2, async {
        let authority = Authority::new("cluster");
        let member = Member::start(&authority).await;
        let files = Scratch::new("bundle");
        let own = authority.issue(&Leaf::client()).write(files.path(), "shown");
        replace(&files.join("bundle.pem"), Authority::new("another").pem());
        let proxy = member
            .plan()
            .arguments(&["--upstream-cert-file", own.certificate.to_str().expect("UTF-8")])
            .arguments(&["--upstream-key-file", own.key.to_str().expect("UTF-8")])
            .variable("SSL_CERT_FILE", files.join("bundle.pem").to_str().expect("UTF-8"))
            .start();
        let mut client = Connection::open(&proxy.address).await.expect("a connection");
        let answer = client.exchange("GET", "/version", &[], "").await.expect("an answer");
        assert_eq!(answer.status, 502, "{}", answer.text());
        replace(&files.join("bundle.pem"), authority.pem());
        let line = proxy.process.wait_for_line("the machine's authorities: new content", PATIENCE);
        assert!(line.is_some(), "{}", proxy.story());
        let answer = client.exchange("GET", "/version", &[], "").await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());

        // An empty bundle is not used: the previous one stays in force.
        replace(&files.join("bundle.pem"), "");
        let (said, went_well) = proxy.command(&["reload"]);
        assert!(went_well && said.contains("bundle of authorities is empty or gone"), "{said}");
        let answer = client.exchange("GET", "/version", &[], "").await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
    });
}
