//! Constant reads and writes through an address, on their own thread and runtime, and a report of
//! the results.
//!
//! A read is repeated, as etcd's own clients do it, only if etcd itself answered that it cannot
//! serve at the moment (`etcdserver: ...`, UNAVAILABLE); the time of the read includes the
//! repetitions. Any other failure is a failed read. Writes are never repeated. Each write has a key
//! of its own, so that one applied twice shows as version 2.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::{LocalSet, spawn_local};

use super::grpc::{Channel, Failure};
use super::http1;
use super::rpc::{
    self, Done, PutRequest, RangeRequest, RangeResponse, WatchRequest, WatchResponse,
};
use super::tls::Dialer;

/// The requests to make.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where clients connect.
    pub address: String,
    /// How they connect.
    pub dialer: Dialer,
    /// Whether each request opens a new connection.
    pub fresh: bool,
    /// The prefix of all keys. `PREFIX/r` must exist with the value `v`.
    pub prefix: String,
    /// Number of HTTP/1.1 connections that read JSON.
    pub json_readers: usize,
    /// Number of gRPC connections that read.
    pub grpc_readers: usize,
    /// Whether reads are serializable, that is answered by one member alone.
    pub serializable: bool,
    /// Number of gRPC connections that write.
    pub writers: usize,
    /// Number of gRPC watches of the written keys. A watch that ends is resumed at the next
    /// revision.
    pub watchers: usize,
    /// Pause of each client between two requests.
    pub pause: Duration,
}

impl Plan {
    /// Two readers of each kind and one writer, with linearizable reads and a pause of a few
    /// milliseconds.
    pub fn new(address: &str, prefix: &str) -> Self {
        Self {
            address: address.to_owned(),
            dialer: Dialer::plain(),
            fresh: false,
            prefix: prefix.to_owned(),
            json_readers: 2,
            grpc_readers: 2,
            serializable: false,
            writers: 1,
            watchers: 0,
            pause: Duration::from_millis(2),
        }
    }

    async fn open_http1(&self) -> std::io::Result<http1::Connection> {
        http1::Connection::open_by(&self.dialer, &self.address).await
    }

    async fn open_grpc(&self) -> Result<Channel, Failure> {
        Channel::open_by(&self.dialer, &self.address).await
    }
}

/// The results of the load.
#[derive(Debug, Default, Clone)]
pub struct Report {
    /// Reads that returned the right answer.
    pub reads: usize,
    /// Time since the load's start and the error of each failed read.
    pub failed_reads: Vec<(Duration, String)>,
    /// The start of the slowest read, and its duration.
    pub slowest_read: (Duration, Duration),
    /// The start and duration of each read that took longer than [`NOTABLE`].
    pub slow_reads: Vec<(Duration, Duration)>,
    /// The start and duration of each period longer than [`NOTABLE`] in which no control member
    /// answered a read.
    pub silences: Vec<(Duration, Duration)>,
    /// How often etcd itself asked a reader to try again.
    pub asked_again: usize,
    /// Keys whose write was acknowledged.
    pub written: Vec<String>,
    /// Time since the load's start and the error of each failed write.
    pub failed_writes: Vec<(Duration, String)>,
    /// For each watcher, how often it saw each key.
    pub seen: Vec<BTreeMap<String, usize>>,
    /// For each watcher, how often its stream ended and was opened again.
    pub resumed: Vec<usize>,
}

/// Reads and silences shorter than this are not reported one by one.
const NOTABLE: Duration = Duration::from_millis(500);

impl Report {
    /// Returns the longest time that a read took in excess of the members' own silence meanwhile.
    pub fn slowest_beyond_silence(&self) -> Duration {
        let beyond = self.slow_reads.iter().map(|(begin, took)| {
            let end = *begin + *took;
            let shared = self.silences.iter().map(|(silent, length)| {
                end.min(*silent + *length).saturating_sub(*begin.max(silent))
            });
            took.saturating_sub(shared.sum())
        });
        beyond.max().unwrap_or_default()
    }
}

/// A running load.
pub struct Load {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    plan: Plan,
    begin: Instant,
    stop: AtomicBool,
    report: Mutex<Report>,
    /// Members that are read from directly at the same time, to know when the cluster itself would
    /// have answered.
    control: Mutex<Vec<String>>,
    /// The time of the last answer from one of them.
    answered: Mutex<Instant>,
}

impl Load {
    pub fn start(plan: Plan) -> Self {
        let report = Report {
            seen: vec![BTreeMap::new(); plan.watchers],
            resumed: vec![0; plan.watchers],
            ..Report::default()
        };
        let begin = Instant::now();
        let shared = Arc::new(Shared {
            plan,
            begin,
            stop: AtomicBool::new(false),
            report: Mutex::new(report),
            control: Mutex::default(),
            answered: Mutex::new(begin),
        });
        let worker = shared.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            LocalSet::new().block_on(&runtime.expect("a runtime"), work(worker));
        });
        Self { shared, thread: Some(thread) }
    }

    /// Adds a control member, which is read from directly from now on.
    pub fn control(&self, member: &str) {
        self.shared.control.lock().expect("control").push(member.to_owned());
    }

    /// Returns the results so far.
    pub fn so_far(&self) -> Report {
        self.shared.report.lock().expect("report").clone()
    }

    /// Waits until `more` more reads have succeeded.
    pub fn wait_for_reads(&self, more: usize) {
        self.wait_for("reads", more, |report| report.reads);
    }

    /// Waits until `more` more writes have been acknowledged.
    pub fn wait_for_writes(&self, more: usize) {
        self.wait_for("writes", more, |report| report.written.len());
    }

    fn wait_for(&self, what: &str, more: usize, count: impl Fn(&Report) -> usize) {
        let before = count(&self.so_far());
        let deadline = Instant::now() + super::PATIENCE;
        while count(&self.so_far()) < before + more {
            let so_far = self.so_far();
            let last = (so_far.failed_reads.last(), so_far.failed_writes.last());
            assert!(Instant::now() < deadline, "no {what} any more; last failures: {last:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends the reads and writes, waits until each watcher has seen the last write, and returns the
    /// report.
    pub fn finish(mut self) -> Report {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_else(|failure| std::panic::resume_unwind(failure));
        }
        self.so_far()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

async fn work(shared: Arc<Shared>) {
    let mut clients = Vec::new();
    let mut watchers = Vec::new();
    for index in 0..shared.plan.watchers {
        watchers.push(spawn_local(watch(shared.clone(), index)));
    }
    for _ in 0..shared.plan.json_readers {
        clients.push(spawn_local(read_json(shared.clone())));
    }
    for _ in 0..shared.plan.grpc_readers {
        clients.push(spawn_local(read_grpc(shared.clone())));
    }
    for index in 0..shared.plan.writers {
        clients.push(spawn_local(write(shared.clone(), index)));
    }
    let control = spawn_local(read_all_directly(shared.clone()));
    for client in clients {
        client.await.expect("a client");
    }
    control.abort();
    let last = last_write(&shared).await;
    let caught_up = async {
        while !shared
            .report
            .lock()
            .expect("report")
            .seen
            .iter()
            .all(|seen| seen.contains_key(&last))
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if !watchers.is_empty() {
        let _ = tokio::time::timeout(super::PATIENCE, caught_up).await;
    }
    for watcher in watchers {
        watcher.abort();
    }
}

impl Shared {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn read_ended(&self, begin: Instant, result: Result<(), String>) {
        let took = begin.elapsed();
        let since = begin - self.begin;
        let mut report = self.report.lock().expect("report");
        if took > report.slowest_read.0 {
            report.slowest_read = (took, since);
        }
        if took > NOTABLE {
            report.slow_reads.push((since, took));
        }
        match result {
            Ok(()) => report.reads += 1,
            Err(text) => report.failed_reads.push((since, text)),
        }
    }

    fn write_ended(&self, key: String, result: Result<(), String>) {
        let mut report = self.report.lock().expect("report");
        match result {
            Ok(()) => report.written.push(key),
            Err(why) => report.failed_writes.push((self.begin.elapsed(), why)),
        }
    }

    fn member_answered(&self) {
        let mut answered = self.answered.lock().expect("answered");
        let silent = answered.elapsed();
        if silent > NOTABLE {
            let begin = *answered - self.begin;
            self.report.lock().expect("report").silences.push((begin, silent));
        }
        *answered = Instant::now();
    }

    fn asked_again(&self) {
        self.report.lock().expect("report").asked_again += 1;
    }
}

/// A read that takes longer has failed, whatever it would have returned.
const HOPELESS: Duration = Duration::from_secs(20);

async fn within<T>(what: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::time::timeout(HOPELESS, what)
        .await
        .unwrap_or_else(|_| Err("no answer in 20 s".to_owned()))
}

async fn read_json(shared: Arc<Shared>) {
    let mut connection = None;
    while shared.goes_on() {
        let begin = Instant::now();
        let result = within(one_json_read(&shared, &mut connection)).await;
        if result.is_err() || shared.plan.fresh {
            connection = None;
        }
        shared.read_ended(begin, result);
        tokio::time::sleep(shared.plan.pause).await;
    }
}

async fn one_json_read(
    shared: &Shared,
    connection: &mut Option<http1::Connection>,
) -> Result<(), String> {
    let key = base64(format!("{}/r", shared.plan.prefix).as_bytes());
    let body = format!("{{\"key\":\"{key}\",\"serializable\":{}}}", shared.plan.serializable);
    loop {
        if connection.is_none() {
            *connection = Some(shared.plan.open_http1().await.map_err(text)?);
        }
        let open = connection.as_mut().expect("just opened");
        let answer = open.exchange("POST", "/v3/kv/range", &[], &body).await.map_err(text)?;
        if answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            *connection = None;
        }
        if answer.status == 200 && answer.text().contains("\"value\":\"dg==\"") {
            return Ok(());
        }
        if answer.status != 503 || !answer.text().contains("etcdserver: ") {
            return Err(format!("{} {}", answer.status, answer.text()));
        }
        shared.asked_again();
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

async fn read_grpc(shared: Arc<Shared>) {
    let mut channel = None;
    while shared.goes_on() {
        let begin = Instant::now();
        let result =
            within(one_grpc_read(&shared.plan, &mut channel, || shared.asked_again())).await;
        if result.is_err() || shared.plan.fresh {
            channel = None;
        }
        shared.read_ended(begin, result);
        tokio::time::sleep(shared.plan.pause).await;
    }
}

async fn one_grpc_read(
    plan: &Plan,
    channel: &mut Option<Channel>,
    asked_again: impl Fn(),
) -> Result<(), String> {
    let mut request = RangeRequest::key(&format!("{}/r", plan.prefix));
    request.serializable = plan.serializable;
    loop {
        let open = opened(channel, plan).await.map_err(text)?;
        match open.unary::<RangeResponse>(rpc::RANGE, &request).await {
            Ok(answer) if answer.kvs.first().is_some_and(|kv| kv.value == b"v") => return Ok(()),
            Ok(answer) => return Err(format!("wrong answer {answer:?}")),
            Err(Failure::Status { code: 14, message }) if message.starts_with("etcdserver: ") => {}
            Err(failure) => return Err(text(failure)),
        }
        asked_again();
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// Reads from each control member, also from those that are added later.
async fn read_all_directly(shared: Arc<Shared>) {
    let mut readers = tokio::task::JoinSet::new();
    loop {
        let members: Vec<_> =
            shared.control.lock().expect("control").iter().skip(readers.len()).cloned().collect();
        for member in members {
            readers.spawn_local(read_directly(shared.clone(), member));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Reads from one member every 20 ms, which is often enough to tell when the cluster serves.
async fn read_directly(shared: Arc<Shared>, member: String) {
    let mut plan = shared.plan.clone();
    plan.address = member;
    let mut channel = None;
    loop {
        let result = within(one_grpc_read(&plan, &mut channel, || ())).await;
        match result {
            Ok(()) => shared.member_answered(),
            Err(_) => channel = None,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Returns the channel; opens a new one if there is none or if it was closed between two requests.
async fn opened<'a>(channel: &'a mut Option<Channel>, plan: &Plan) -> Result<&'a Channel, Failure> {
    if channel.as_ref().is_none_or(|channel| channel.ended().is_some()) {
        *channel = Some(plan.open_grpc().await?);
    }
    Ok(channel.as_ref().expect("just opened"))
}

async fn write(shared: Arc<Shared>, index: usize) {
    let mut channel = None;
    for number in 0.. {
        if !shared.goes_on() {
            return;
        }
        let key = format!("{}/w/{index}/{number:06}", shared.plan.prefix);
        let result = within(one_write(&shared, &mut channel, &key)).await;
        if result.is_err() {
            channel = None;
        }
        shared.write_ended(key, result);
        tokio::time::sleep(shared.plan.pause).await;
    }
}

async fn one_write(
    shared: &Shared,
    channel: &mut Option<Channel>,
    key: &str,
) -> Result<(), String> {
    let open = opened(channel, &shared.plan).await.map_err(text)?;
    open.unary::<Done>(rpc::PUT, &PutRequest::new(key, "w")).await.map(|_| ()).map_err(text)
}

/// Writes the key that tells the watchers to end, and tries again until a write succeeds.
async fn last_write(shared: &Shared) -> String {
    let deadline = Instant::now() + super::PATIENCE;
    let mut number = 0;
    loop {
        let key = format!("{}/w/last/{number}", shared.plan.prefix);
        let result = within(one_write(shared, &mut None, &key)).await;
        match result {
            Ok(()) => {
                shared.report.lock().expect("report").written.push(key.clone());
                return key;
            }
            Err(why) => assert!(Instant::now() < deadline, "the last write fails: {why}"),
        }
        number += 1;
    }
}

/// Watches the written keys. Resumes a watch that ended behind the last revision seen.
async fn watch(shared: Arc<Shared>, index: usize) {
    let mut next_revision = first_revision(&shared).await;
    loop {
        let _ = watch_once(&shared, index, &mut next_revision).await;
        shared.report.lock().expect("report").resumed[index] += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn first_revision(shared: &Shared) -> i64 {
    loop {
        let range = async {
            let channel = shared.plan.open_grpc().await?;
            let request = RangeRequest::key(&format!("{}/r", shared.plan.prefix));
            channel.unary::<RangeResponse>(rpc::RANGE, &request).await
        };
        // Starts where `PREFIX/r` was written, so that no later write can be missed.
        match range.await {
            Ok(answer) if !answer.kvs.is_empty() => return answer.kvs[0].mod_revision + 1,
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn watch_once(shared: &Shared, index: usize, next_revision: &mut i64) -> Result<(), Failure> {
    let channel = shared.plan.open_grpc().await?;
    let mut call = channel.call(rpc::WATCH).await?;
    call.send(&WatchRequest::prefix(&format!("{}/w/", shared.plan.prefix), *next_revision))?;
    while let Some(answer) = call.next::<WatchResponse>().await? {
        if answer.canceled {
            return Ok(());
        }
        let mut report = shared.report.lock().expect("report");
        for kv in answer.events.into_iter().filter_map(|event| event.kv) {
            *next_revision = (*next_revision).max(kv.mod_revision + 1);
            let key = String::from_utf8_lossy(&kv.key).into_owned();
            *report.seen[index].entry(key).or_default() += 1;
        }
    }
    Ok(())
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Encodes as standard base64 with padding, the form of keys and values in the JSON gateway.
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() { char::from(letter) } else { '=' });
        }
    }
    text
}
