//! One query for SRV records: to the servers of resolv.conf, in glibc's order, by UDP, and by TCP
//! when an answer is truncated.
//!
//! All SRV records of an answer are taken, whatever their owner name: a CNAME before them is legal,
//! and the server has already followed it. Nothing is cached here.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::resolv_conf::ResolvConf;

/// Largest UDP answer to ask for, in bytes: as in glibc, small enough not to be fragmented.
const PAYLOAD: u16 = 1200;

/// An SRV record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Srv {
    /// The host, without a trailing dot.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) priority: u16,
    pub(super) weight: u16,
}

/// The DNS answer for one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// Empty when there is no such record.
    pub(super) records: Vec<Srv>,
    /// The shortest time to live of the records and the CNAMEs that led to them; `None` without
    /// any.
    pub(super) ttl: Option<Duration>,
}

/// Looks up `name`, with the search domains of resolv.conf appended as glibc would.
///
/// # Errors
/// The error of the first name whose lookup failed, when none has records; or that none is a valid
/// DNS name.
pub(super) async fn srv(conf: &ResolvConf, name: &str) -> Result<Answer, String> {
    let mut nothing = None;
    let mut failure = None;
    for candidate in conf.candidates(name) {
        // An appended domain may make the name too long, which is no reason to skip the others.
        let Ok(candidate) = Name::from_ascii(&candidate) else { continue };
        match ask(conf, &candidate).await {
            Ok(answer) if answer.records.is_empty() => nothing = Some(answer),
            Ok(answer) => return Ok(answer),
            Err(reason) => {
                failure.get_or_insert(reason);
            }
        }
    }
    match (failure, nothing) {
        (Some(reason), _) => Err(reason),
        (None, Some(answer)) => Ok(answer),
        (None, None) => Err("it is not a valid DNS name".to_owned()),
    }
}

/// Asks one server after the other, as many times as resolv.conf says.
async fn ask(conf: &ResolvConf, name: &Name) -> Result<Answer, String> {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    let first = if conf.rotate { TURN.fetch_add(1, Relaxed) } else { 0 };
    let mut failure = String::new();
    for nth in 0..conf.tries {
        for at in 0..conf.servers.len() {
            let server = conf.servers[(first + at) % conf.servers.len()];
            let patience = conf.patience(nth);
            let asked = timeout(patience, exchange(conf, server, name)).await;
            match asked {
                Ok(Ok(message)) => match message.metadata.response_code {
                    ResponseCode::NoError | ResponseCode::NXDomain => return Ok(read(&message)),
                    code => failure = format!("{server} answers {code}"),
                },
                Ok(Err(error)) => failure = format!("{server}: {error}"),
                Err(_) => failure = format!("{server}: no answer within {patience:?}"),
            }
        }
    }
    Err(failure)
}

async fn exchange(conf: &ResolvConf, server: SocketAddr, name: &Name) -> io::Result<Message> {
    let mut question = Message::query();
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(name.clone(), RecordType::SRV));
    if conf.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD);
        question.edns = Some(edns);
    }
    let bytes = question.to_vec().map_err(io::Error::other)?;
    if !conf.by_tcp {
        let answer = by_udp(server, &question, &bytes).await?;
        if !answer.metadata.truncation {
            return Ok(answer);
        }
    }
    by_tcp(server, &question, &bytes).await
}

async fn by_udp(server: SocketAddr, question: &Message, bytes: &[u8]) -> io::Result<Message> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    // Connected, so that only this server's answers are received, and a closed port is reported at
    // once.
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Anything else is a stray or late datagram; the right answer may still come.
        if let Ok(answer) = Message::from_vec(&buffer[..length])
            && is_answer(&answer, question)
        {
            return Ok(answer);
        }
    }
}

async fn by_tcp(server: SocketAddr, question: &Message, bytes: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), bytes].concat()).await?;
    let mut buffer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut buffer).await?;
    let answer = Message::from_vec(&buffer).map_err(io::Error::other)?;
    if is_answer(&answer, question) {
        Ok(answer)
    } else {
        Err(io::Error::other("it answers another question"))
    }
}

fn is_answer(answer: &Message, question: &Message) -> bool {
    answer.metadata.id == question.metadata.id
        && answer.metadata.message_type == hickory_proto::op::MessageType::Response
        && (answer.queries == question.queries || answer.queries.is_empty())
}

fn read(message: &Message) -> Answer {
    let mut answer = Answer { records: Vec::new(), ttl: None };
    for record in &message.answers {
        let ttl = Duration::from_secs(record.ttl.into());
        match &record.data {
            RData::SRV(srv) => {
                let host = srv.target.to_ascii();
                answer.records.push(Srv {
                    host: host.strip_suffix('.').unwrap_or(&host).to_owned(),
                    port: srv.port,
                    priority: srv.priority,
                    weight: srv.weight,
                });
            }
            RData::CNAME(_) => {}
            _ => continue,
        }
        answer.ttl = Some(answer.ttl.map_or(ttl, |known| known.min(ttl)));
    }
    answer
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hickory_proto::op::OpCode;
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::{CNAME, SRV};
    use tokio::net::TcpListener;

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn record(owner: &str, host: &str) -> Record {
        Record::from_rdata(name(owner), 60, RData::SRV(SRV::new(1, 2, 2380, name(host))))
    }

    fn reply(question: &[u8], change: &dyn Fn(&mut Message)) -> Vec<u8> {
        let question = Message::from_vec(question).unwrap();
        let mut answer = Message::response(question.metadata.id, OpCode::Query);
        answer.add_queries(question.queries.clone());
        change(&mut answer);
        answer.to_vec().unwrap()
    }

    type Change = Arc<dyn Fn(&mut Message) + Send + Sync>;

    /// Starts a server that answers by UDP and TCP, each with an empty answer changed by its
    /// function.
    async fn server(
        udp: impl Fn(&mut Message) + Send + Sync + 'static,
        tcp: impl Fn(&mut Message) + Send + Sync + 'static,
    ) -> SocketAddr {
        let (socket, listener) = loop {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            // A port that is free for UDP may be taken for TCP.
            if let Ok(listener) = TcpListener::bind(socket.local_addr().unwrap()).await {
                break (socket, listener);
            }
        };
        let address = socket.local_addr().unwrap();
        let (udp, tcp): (Change, Change) = (Arc::new(udp), Arc::new(tcp));
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                // A stray datagram before the answer does no harm.
                socket.send_to(b"junk", from).await.unwrap();
                socket.send_to(&reply(&buffer[..length], &*udp), from).await.unwrap();
            }
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut question = vec![0; usize::from(stream.read_u16().await.unwrap())];
                stream.read_exact(&mut question).await.unwrap();
                let answer = reply(&question, &*tcp);
                stream.write_u16(answer.len() as u16).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        });
        address
    }

    fn conf(servers: &[SocketAddr]) -> ResolvConf {
        ResolvConf { servers: servers.to_vec(), ..ResolvConf::default() }
    }

    const NAME: &str = "_etcd-server._tcp.example.test";

    fn hosts(answer: Result<Answer, String>) -> Vec<String> {
        answer.unwrap().records.into_iter().map(|record| record.host).collect()
    }

    #[tokio::test]
    async fn records_behind_a_cname_are_taken_and_so_is_their_case() {
        let udp = |answer: &mut Message| {
            let other = name("_x._tcp.Other.test.");
            let alias = RData::CNAME(CNAME(other));
            answer.add_answer(Record::from_rdata(name(&format!("{NAME}.")), 5, alias));
            answer.add_answer(record("_X._tcp.other.TEST.", "infra0.example.test."));
            answer.add_answer(record("_X._tcp.other.TEST.", "infra1.example.test."));
        };
        let answer = srv(&conf(&[server(udp, |_| {}).await]), NAME).await.unwrap();
        assert_eq!(answer.ttl, Some(Duration::from_secs(5)));
        assert_eq!(hosts(Ok(answer)), ["infra0.example.test", "infra1.example.test"]);
    }

    #[tokio::test]
    async fn an_answer_that_is_cut_is_asked_for_by_tcp() {
        let cut = |answer: &mut Message| answer.metadata.truncation = true;
        let whole = |answer: &mut Message| {
            (0..100).for_each(|n| answer.answers.push(record(NAME, &format!("infra{n}.test."))));
        };
        let address = server(cut, whole).await;
        assert_eq!(hosts(srv(&conf(&[address]), NAME).await).len(), 100);
        let by_tcp = ResolvConf { by_tcp: true, edns: true, ..conf(&[address]) };
        assert_eq!(hosts(srv(&by_tcp, NAME).await).len(), 100);
    }

    #[tokio::test]
    async fn a_server_that_is_dead_or_in_trouble_hands_over_to_the_next() {
        let failing =
            server(|answer| answer.metadata.response_code = ResponseCode::ServFail, |_| {});
        let failing = failing.await;
        let good = server(|answer| answer.answers.push(record(NAME, "infra0.test.")), |_| {});
        let good = good.await;
        let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert_eq!(hosts(srv(&conf(&[closed, failing, good]), NAME).await), ["infra0.test"]);
        let error = srv(&conf(&[failing]), NAME).await.unwrap_err();
        assert!(error.starts_with(&format!("{failing} answers ")), "{error}");
    }

    #[tokio::test]
    async fn a_name_without_records_is_an_answer_and_is_tried_in_the_search_domains() {
        let none = server(|answer| answer.metadata.response_code = ResponseCode::NXDomain, |_| {});
        let answer = srv(&conf(&[none.await]), NAME).await.unwrap();
        assert_eq!(answer, Answer { records: Vec::new(), ttl: None });
    }
}
