//! Looks up host names with the system's resolver: `/etc/hosts`, nsswitch and resolv.conf apply as
//! for every other program.
//!
//! `getaddrinfo` blocks, returns no time to live, and takes 5 s or more when the first nameserver
//! is dead. So lookups run on their own threads, at most one per name at a time, and callers wait
//! for the answer within limits:
//!
//! - an answer serves all callers for [`FRESH`];
//! - the last good addresses are kept, and used when a lookup fails or takes longer than
//!   [`STALE_AFTER`] (RFC 8767 calls that serving stale data);
//! - an answer that arrives after all callers have given up is kept for the next one.
//!
//! The table is global to the process, as the resolver is. No lock is held while a lookup runs.

use std::collections::{HashMap, VecDeque};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use tokio::time::timeout_at;

/// How long an answer, good or bad, is served without a new lookup. Short, because `getaddrinfo`
/// does not return its time to live.
const FRESH: Duration = Duration::from_secs(1);
/// Longest wait for an answer when there are last good addresses.
const STALE_AFTER: Duration = Duration::from_millis(500);
/// Longest wait for an answer when there are none, from the start of the lookup. Long enough for
/// one dead nameserver (5 s).
pub const LOOKUP_LIMIT: Duration = Duration::from_secs(8);
/// Most lookups that run at once; others are queued.
const MOST_THREADS: usize = 32;
/// Stack of a lookup thread, in bytes: glibc and its modules need a few hundred KiB at most.
const STACK: usize = 512 * 1024;
/// Most names in the table: twice those of the largest member list. The least recently used one is
/// dropped.
const MOST_NAMES: usize = 4096;
/// How long a failed lookup is reported as a problem after the name was last used.
const TOLD_FOR: Duration = Duration::from_secs(60);

/// The addresses of a name, with port 0; never empty.
type Addresses = Arc<[SocketAddr]>;
type Answer = Result<Addresses, LookupError>;
/// The blocking lookup of a name.
type Resolve = dyn Fn(&str) -> Result<Vec<SocketAddr>, LookupError> + Send + Sync;

/// Why a name has no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The name does not exist, or has no address.
    #[error("host not found")]
    NotFound,
    /// The resolver itself failed.
    #[error("host lookup failed: {0}")]
    Failed(String),
    /// The resolver has not answered within this time.
    #[error("host lookup: no answer within {0:?}")]
    NoAnswer(Duration),
}

/// A name whose lookup currently fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// The name.
    pub host: String,
    /// When it began to fail.
    pub since: SystemTime,
    /// Why.
    pub error: LookupError,
    /// Whether there are last good addresses, which are used meanwhile.
    pub is_known: bool,
}

/// Returns the addresses of `host`, a name, each with port 0.
///
/// # Errors
/// When the lookup fails or takes longer than [`LOOKUP_LIMIT`], and no earlier one returned an
/// address.
pub async fn addresses(host: &str) -> Result<Arc<[SocketAddr]>, LookupError> {
    TABLE.addresses(host).await
}

/// Returns the names that were used in the last minute and whose lookup failed, or has had no
/// answer for [`LOOKUP_LIMIT`]; sorted. A name that does not exist is listed only if it did exist
/// before.
pub fn failing() -> Vec<Failing> {
    TABLE.failing()
}

static TABLE: LazyLock<Arc<Table>> = LazyLock::new(|| Arc::new(Table::new(by_system, LIMITS)));

fn by_system(host: &str) -> Result<Vec<SocketAddr>, LookupError> {
    (host, 0).to_socket_addrs().map(Iterator::collect).map_err(|error| reason(&error))
}

/// Distinguishes a name that does not exist from a resolver that fails. std exposes only glibc's
/// messages.
fn reason(error: &std::io::Error) -> LookupError {
    let text = error.to_string();
    let words = text.rsplit_once(": ").map_or(text.as_str(), |(_, words)| words);
    match words {
        "Name or service not known" | "No address associated with hostname" => {
            LookupError::NotFound
        }
        _ => LookupError::Failed(words.to_lowercase()),
    }
}

/// Time limits of a table.
#[derive(Debug, Clone, Copy)]
struct Limits {
    fresh: Duration,
    stale_after: Duration,
    limit: Duration,
}

const LIMITS: Limits = Limits { fresh: FRESH, stale_after: STALE_AFTER, limit: LOOKUP_LIMIT };

struct Table {
    state: Mutex<State>,
    resolve: Box<Resolve>,
    limits: Limits,
}

#[derive(Default)]
struct State {
    names: HashMap<Box<str>, Name>,
    /// Lookups waiting for a thread.
    queue: VecDeque<(Box<str>, watch::Sender<Option<Answer>>)>,
    threads: usize,
}

/// The state of one name.
struct Name {
    /// The last good addresses.
    good: Option<Addresses>,
    /// The last answer, and when it arrived.
    last: Option<(Instant, Answer)>,
    /// When lookups began to fail; `None` while they succeed.
    failing_since: Option<SystemTime>,
    running: Option<Running>,
    used: Instant,
}

/// A lookup that is running or queued.
#[derive(Clone)]
struct Running {
    begun: (Instant, SystemTime),
    answer: watch::Receiver<Option<Answer>>,
}

impl Running {
    fn new() -> (watch::Sender<Option<Answer>>, Self) {
        let (sender, answer) = watch::channel(None);
        (sender, Self { begun: (Instant::now(), SystemTime::now()), answer })
    }
}

/// The outcome of [`Table::begin`]: a known answer, or a running lookup and the last good
/// addresses.
enum Begun {
    Known(Answer),
    Running(Running, Option<Addresses>),
}

impl Table {
    fn new(
        resolve: impl Fn(&str) -> Result<Vec<SocketAddr>, LookupError> + Send + Sync + 'static,
        limits: Limits,
    ) -> Self {
        Self { state: Mutex::default(), resolve: Box::new(resolve), limits }
    }

    async fn addresses(self: &Arc<Self>, host: &str) -> Answer {
        let (mut running, good) = match self.begin(host) {
            Begun::Known(answer) => return answer,
            Begun::Running(running, good) => (running, good),
        };
        let patience = if good.is_some() { self.limits.stale_after } else { self.limits.limit };
        let deadline = running.begun.0 + patience;
        let answered = timeout_at(deadline.into(), running.answer.wait_for(Option::is_some)).await;
        let answer = match answered {
            Ok(Ok(answer)) => answer.clone(),
            // No answer in time, or the table is gone and will send none.
            Ok(Err(_)) | Err(_) => None,
        };
        match (answer, good) {
            (Some(Ok(addresses)), _) | (_, Some(addresses)) => Ok(addresses),
            (Some(Err(error)), None) => Err(error),
            (None, None) => Err(LookupError::NoAnswer(self.limits.limit)),
        }
    }

    /// Returns the last answer if it is fresh; else joins the running lookup of `host`, or begins
    /// one.
    fn begin(self: &Arc<Self>, host: &str) -> Begun {
        let mut state = self.lock();
        let now = Instant::now();
        if !state.names.contains_key(host) {
            state.make_room();
            state.names.insert(host.into(), Name::new(now));
        }
        let Some(name) = state.names.get_mut(host) else {
            return Begun::Known(Err(LookupError::NotFound));
        };
        name.used = now;
        if let Some((at, answer)) = &name.last
            && at.elapsed() < self.limits.fresh
        {
            return Begun::Known(name.good.clone().map_or_else(|| answer.clone(), Ok));
        }
        let good = name.good.clone();
        if let Some(running) = &name.running {
            return Begun::Running(running.clone(), good);
        }
        let (sender, running) = Running::new();
        name.running = Some(running.clone());
        state.queue.push_back((host.into(), sender));
        self.have_thread(&mut state);
        Begun::Running(running, good)
    }

    /// Starts a thread for the queue, unless [`MOST_THREADS`] are running.
    fn have_thread(self: &Arc<Self>, state: &mut State) {
        if state.threads >= MOST_THREADS {
            return;
        }
        let table = self.clone();
        let thread = std::thread::Builder::new().name("lookup".to_owned()).stack_size(STACK);
        match thread.spawn(move || table.work()) {
            Ok(_) => state.threads += 1,
            // The running threads will take the queued lookup.
            Err(_) if state.threads > 0 => {}
            Err(error) => {
                for (host, sender) in std::mem::take(&mut state.queue) {
                    state.answer(&host, &sender, Err(LookupError::Failed(error.to_string())));
                }
            }
        }
    }

    /// Looks up queued names until the queue is empty.
    fn work(&self) {
        let mut state = self.lock();
        while let Some((host, sender)) = state.queue.pop_front() {
            drop(state);
            let answer = match (self.resolve)(&host) {
                Ok(addresses) if addresses.is_empty() => Err(LookupError::NotFound),
                Ok(addresses) => Ok(addresses.into()),
                Err(error) => Err(error),
            };
            state = self.lock();
            state.answer(&host, &sender, answer);
        }
        state.threads -= 1;
    }

    fn failing(self: &Arc<Self>) -> Vec<Failing> {
        let mut state = self.lock();
        self.look_again(&mut state);
        let mut failing: Vec<_> = state
            .names
            .iter()
            .filter_map(|(host, name)| {
                let (error, since) = name.trouble(self.limits.limit)?;
                let is_known = name.good.is_some();
                Some(Failing { host: host.to_string(), since, error, is_known })
            })
            .collect();
        failing.sort_by(|one, other| one.host.cmp(&other.host));
        failing
    }

    /// Begins new lookups of names that still count as failing. Their callers may be served by
    /// stale addresses and not ask again, while the resolver may have recovered.
    fn look_again(self: &Arc<Self>, state: &mut State) {
        let State { names, queue, .. } = state;
        for (host, name) in names.iter_mut() {
            let is_old =
                name.last.as_ref().is_some_and(|last| last.0.elapsed() >= self.limits.fresh);
            if is_old && name.is_failing() && name.running.is_none() {
                let (sender, running) = Running::new();
                name.running = Some(running);
                queue.push_back((host.clone(), sender));
            }
        }
        if !state.queue.is_empty() {
            self.have_thread(state);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn answer(&mut self, host: &str, sender: &watch::Sender<Option<Answer>>, answer: Answer) {
        if let Some(name) = self.names.get_mut(host) {
            name.running = None;
            name.last = Some((Instant::now(), answer.clone()));
            match &answer {
                Ok(addresses) => {
                    name.good = Some(addresses.clone());
                    name.failing_since = None;
                }
                Err(_) => {
                    name.failing_since.get_or_insert_with(SystemTime::now);
                }
            }
        }
        sender.send_replace(Some(answer));
    }

    /// Drops the least recently used name when the table is full.
    fn make_room(&mut self) {
        if self.names.len() < MOST_NAMES {
            return;
        }
        let oldest = self.names.iter().min_by_key(|(_, name)| name.used);
        if let Some(host) = oldest.map(|(host, _)| host.clone()) {
            self.names.remove(&host);
        }
    }
}

impl Name {
    fn new(now: Instant) -> Self {
        Self { good: None, last: None, failing_since: None, running: None, used: now }
    }

    /// Returns whether the last lookup failed and the name was used within [`TOLD_FOR`].
    fn is_failing(&self) -> bool {
        self.failing_since.is_some() && self.used.elapsed() < TOLD_FOR
    }

    /// Returns what is wrong with the lookups of this name, and since when.
    fn trouble(&self, limit: Duration) -> Option<(LookupError, SystemTime)> {
        if self.used.elapsed() >= TOLD_FOR {
            return None;
        }
        let overdue = self.running.as_ref().filter(|running| running.begun.0.elapsed() >= limit);
        if let Some(running) = overdue {
            return Some((
                LookupError::NoAnswer(limit),
                self.failing_since.unwrap_or(running.begun.1),
            ));
        }
        let error = self.last.as_ref()?.1.as_ref().err()?;
        // A name that never existed is not a fault of the resolver; it is reported where it is
        // configured.
        if *error == LookupError::NotFound && self.good.is_none() {
            return None;
        }
        Some((error.clone(), self.failing_since?))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A resolver whose answers the test supplies; it blocks until one is there.
    #[derive(Default)]
    struct Scripted {
        answers: Mutex<VecDeque<Result<Vec<SocketAddr>, LookupError>>>,
        asked: AtomicUsize,
        told: std::sync::Condvar,
    }

    impl Scripted {
        fn tell(&self, answer: Result<&str, LookupError>) {
            let answer = answer.map(|ip| vec![format!("{ip}:0").parse().unwrap()]);
            self.answers.lock().unwrap().push_back(answer);
            self.told.notify_one();
        }

        fn answer(&self) -> Result<Vec<SocketAddr>, LookupError> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let answers = self.answers.lock().unwrap();
            let mut answers = self.told.wait_while(answers, |answers| answers.is_empty()).unwrap();
            answers.pop_front().unwrap()
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::SeqCst)
        }
    }

    /// A table with a scripted resolver. Answers stay fresh for `fresh`.
    fn table(fresh: Duration, limit: Duration) -> (Arc<Table>, Arc<Scripted>) {
        let resolver = Arc::<Scripted>::default();
        let limits = Limits { fresh, stale_after: Duration::from_millis(20), limit };
        let answering = resolver.clone();
        (Arc::new(Table::new(move |_| answering.answer(), limits)), resolver)
    }

    const LONG: Duration = Duration::from_secs(60);

    fn ip(answer: Answer) -> Result<String, LookupError> {
        answer.map(|addresses| addresses[0].ip().to_string())
    }

    #[tokio::test]
    async fn who_asks_at_the_same_time_shares_one_lookup_and_its_answer_is_fresh_for_a_while() {
        let (table, resolver) = table(LONG, LONG);
        let telling = async {
            while resolver.asked() == 0 {
                tokio::task::yield_now().await;
            }
            resolver.tell(Ok("10.0.0.1"));
        };
        let (one, other, ()) =
            tokio::join!(table.addresses("infra0"), table.addresses("infra0"), telling);
        assert_eq!((ip(one), ip(other)), (Ok("10.0.0.1".into()), Ok("10.0.0.1".into())));
        assert_eq!(ip(table.addresses("infra0").await), Ok("10.0.0.1".into()));
        assert_eq!(resolver.asked(), 1);
    }

    #[tokio::test]
    async fn the_last_good_addresses_serve_while_lookups_fail_or_hang() {
        let (table, resolver) = table(Duration::ZERO, LONG);
        resolver.tell(Ok("10.0.0.1"));
        assert_eq!(ip(table.addresses("infra0").await), Ok("10.0.0.1".into()));
        assert!(table.failing().is_empty());
        for error in [LookupError::Failed("down".into()), LookupError::NotFound] {
            resolver.tell(Err(error.clone()));
            assert_eq!(ip(table.addresses("infra0").await), Ok("10.0.0.1".into()));
            let [failing] = &table.failing()[..] else { panic!("one name fails") };
            assert!(failing.error == error && failing.is_known, "{failing:?}");
        }
        // Asking for a failing name begins a new lookup, which is not answered in time.
        assert_eq!(ip(table.addresses("infra0").await), Ok("10.0.0.1".into()));
        resolver.tell(Ok("10.0.0.2"));
        while ip(table.addresses("infra0").await) != Ok("10.0.0.2".into()) {}
        assert!(table.failing().is_empty());
    }

    #[tokio::test]
    async fn an_answer_that_comes_too_late_is_used_by_the_next() {
        let (table, resolver) = table(LONG, Duration::from_millis(20));
        let late = LookupError::NoAnswer(Duration::from_millis(20));
        assert_eq!(table.addresses("infra0").await, Err(late.clone()));
        // The same lookup is still running and overdue, so this call does not wait.
        assert_eq!(table.addresses("infra0").await, Err(late.clone()));
        let [failing] = &table.failing()[..] else { panic!("one name fails") };
        assert!(failing.error == late && !failing.is_known, "{failing:?}");
        resolver.tell(Ok("10.0.0.1"));
        while table.addresses("infra0").await == Err(late.clone()) {
            tokio::task::yield_now().await;
        }
        assert_eq!(ip(table.addresses("infra0").await), Ok("10.0.0.1".into()));
        assert_eq!(resolver.asked(), 1);
    }

    #[tokio::test]
    async fn names_and_threads_are_bounded_and_every_name_gets_its_turn() {
        let limits = Limits { fresh: LONG, stale_after: LONG, limit: LONG };
        let (now, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let seen = most.clone();
        let resolve = move |_: &str| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_micros(50));
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(vec!["10.0.0.1:0".parse().unwrap()])
        };
        let table = Arc::new(Table::new(resolve, limits));
        let mut asking = tokio::task::JoinSet::new();
        for number in 0..MOST_NAMES + 100 {
            let table = table.clone();
            asking.spawn(async move { table.addresses(&format!("infra{number}")).await.is_ok() });
        }
        assert!(asking.join_all().await.into_iter().all(|good| good));
        assert_eq!(table.lock().names.len(), MOST_NAMES);
        assert!(seen.load(Ordering::SeqCst) <= MOST_THREADS);
    }

    #[tokio::test]
    async fn the_systems_resolver_knows_localhost_and_not_what_cannot_exist() {
        let found = addresses("localhost").await.unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 0));
        // RFC 6761 reserves .invalid; a machine without a resolver fails the lookup instead.
        let error = addresses("etcd.invalid").await.unwrap_err();
        assert!(matches!(error, LookupError::NotFound | LookupError::Failed(_)), "{error}");
    }
}
