//! The listeners in force: which addresses are open, which ones a change adds, and which ones it
//! closes.
//!
//! A change is planned first: every new address is bound while all old ones stay open. If one
//! cannot be bound, everything stays as it was.
//!
//! Every socket is also put into the service manager's descriptor store when its address is opened,
//! and taken out when the settings drop it. So a restart, whatever its reason, refuses no
//! connection: clients wait in the queues of the sockets that systemd holds until the next process
//! takes them over. The sockets of a `.socket` unit stay with their unit.
//!
//! An address is opened once, whether its URLs say http, https or both.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::rc::Rc;

use tokio::task::AbortHandle;

use super::pages::{Renderer, serve_metrics};
use super::systemd::Notifier;
use super::workers::Workers;
use crate::config::{ListenAddress, ListenScheme, ListenUrl, Settings};
use crate::net::inherited::{Inherited, Leftover, store_name};
use crate::net::listen::{BindError, Bound, bind_all};

/// The addresses that are served.
#[derive(Default)]
pub struct Listeners {
    clients: Vec<Open>,
    metrics: Vec<Open>,
    next: u64,
}

/// One open address.
struct Open {
    /// As the settings name it; with port 0 the bound address differs.
    asked: ListenAddress,
    /// The scheme of new connections.
    scheme: ListenScheme,
    /// The bound address; it owns the file of a unix socket.
    bound: Bound,
    number: u64,
    /// The tasks of a metrics listener, one for each socket, and the scheme that they share.
    tasks: Option<(Vec<AbortHandle>, Rc<Cell<ListenScheme>>)>,
}

impl Open {
    fn urls(&self) -> Vec<ListenUrl> {
        self.scheme.urls(&self.bound.url.at)
    }

    /// Returns its URLs in one line.
    fn shown(&self) -> String {
        let urls: Vec<String> = self.urls().iter().map(ToString::to_string).collect();
        urls.join(",")
    }
}

/// New addresses, bound but not served yet.
pub struct Plan {
    clients: Vec<(ListenAddress, ListenScheme, Bound)>,
    metrics: Vec<(ListenAddress, ListenScheme, Bound)>,
}

impl Listeners {
    /// Binds the addresses of `settings` that are not open yet, taking inherited sockets where
    /// there are some.
    ///
    /// # Errors
    /// One for each address that cannot be bound; nothing has changed then.
    pub fn plan(
        &self,
        settings: &Settings,
        inherited: &mut Inherited,
    ) -> Result<Plan, Vec<BindError>> {
        let moved = self.moved(settings);
        if !moved.is_empty() {
            return Err(moved);
        }
        let mut own = self.own_addresses();
        own.extend(inherited.addresses());
        let mut bind = |open: &[Open], wanted: &[ListenUrl], workers| {
            bind_missing(open, wanted, workers, &own, inherited)
        };
        let clients = bind(&self.clients, &settings.listen_client_urls, settings.workers);
        let metrics = bind(&self.metrics, &settings.listen_metrics_urls, NonZeroUsize::MIN);
        match (clients, metrics) {
            (Ok(clients), Ok(metrics)) => Ok(Plan { clients, metrics }),
            (clients, metrics) => {
                let mut errors = clients.err().unwrap_or_default();
                errors.extend(metrics.err().unwrap_or_default());
                Err(errors)
            }
        }
    }

    /// Returns the addresses that would change from clients to metrics or back. Their sockets are
    /// owned by the workers or by the control plane, and clients that wait in their queues cannot
    /// be moved along. At the start nothing is open yet, so none is moved.
    fn moved(&self, settings: &Settings) -> Vec<BindError> {
        let clients = (&self.metrics, &settings.listen_client_urls, "metrics", "clients");
        let metrics = (&self.clients, &settings.listen_metrics_urls, "clients", "metrics");
        let mut moved = Vec::new();
        for (open, wanted, from, to) in [clients, metrics] {
            // Port 0 means a different port each time.
            let is_any =
                |at: &ListenAddress| matches!(at, ListenAddress::Tcp(at) if at.port() == 0);
            let here =
                |url: &&ListenUrl| !is_any(&url.at) && open.iter().any(|open| open.asked == url.at);
            moved.extend(wanted.iter().filter(here).map(|url| BindError {
                url: url.clone(),
                source: io::Error::other(format!(
                    "it serves {from}; to make it serve {to}, restart, or reload twice, the first time without it"
                )),
                owner: None,
            }));
        }
        moved
    }

    /// Serves the planned addresses, and closes those that `settings` no longer name.
    pub fn commit(
        &mut self,
        plan: Plan,
        settings: &Settings,
        workers: &mut Workers,
        renderer: &Renderer,
        notifier: &mut Notifier,
    ) {
        renderer.set_profiles(settings.enable_pprof);
        for (asked, scheme, mut bound) in plan.clients {
            self.next += 1;
            store(notifier, &asked, &mut bound);
            workers.open(self.next, &mut bound, scheme);
            let open = Open { asked, scheme, bound, number: self.next, tasks: None };
            tracing::info!(every = true, url = open.shown(), "serving clients");
            self.clients.push(open);
        }
        for (asked, scheme, mut bound) in plan.metrics {
            store(notifier, &asked, &mut bound);
            let speaks = Rc::new(Cell::new(scheme));
            let serve = |socket| {
                let serving = serve_metrics(socket, renderer.clone(), speaks.clone());
                tokio::task::spawn_local(serving).abort_handle()
            };
            let tasks = bound.take_sockets().into_iter().map(serve).collect();
            let open = Open { asked, scheme, bound, number: 0, tasks: Some((tasks, speaks)) };
            tracing::info!(every = true, url = open.shown(), "serving metrics");
            self.metrics.push(open);
        }
        self.close_others(settings, workers, notifier);
        self.change_schemes(settings, workers);
    }

    /// Changes the scheme of addresses that stay; they keep their sockets.
    fn change_schemes(&mut self, settings: &Settings, workers: &Workers) {
        let clients = (&mut self.clients, &settings.listen_client_urls);
        let metrics = (&mut self.metrics, &settings.listen_metrics_urls);
        for (open, wanted) in [clients, metrics] {
            for open in open {
                let Some(scheme) = ListenScheme::of(wanted, &open.asked) else { continue };
                if std::mem::replace(&mut open.scheme, scheme) == scheme {
                    continue;
                }
                match &open.tasks {
                    Some((_, speaks)) => speaks.set(scheme),
                    None => workers.set_scheme(open.number, scheme),
                }
                tracing::info!(
                    every = true,
                    url = open.shown(),
                    "new connections here use another scheme"
                );
            }
        }
    }

    fn close_others(&mut self, settings: &Settings, workers: &Workers, notifier: &mut Notifier) {
        let clients = |open: &mut Open| !is_named(&settings.listen_client_urls, open);
        let metrics = |open: &mut Open| !is_named(&settings.listen_metrics_urls, open);
        for open in self.clients.extract_if(.., clients).collect::<Vec<_>>() {
            tracing::info!(
                every = true,
                url = open.shown(),
                "closing a client listener; its connections finish"
            );
            workers.close(open.number);
            self.forget(open, notifier);
        }
        for open in self.metrics.extract_if(.., metrics).collect::<Vec<_>>() {
            if let Some((tasks, _)) = &open.tasks {
                tasks.iter().for_each(AbortHandle::abort);
            }
            self.forget(open, notifier);
        }
    }

    /// Takes a closed listener out of the descriptor store, unless another open listener has the
    /// same address.
    fn forget(&self, mut open: Open, notifier: &mut Notifier) {
        let name = store_name(&open.asked);
        open.bound.keep_file(false);
        let mut others = self.clients.iter().chain(&self.metrics);
        if !others.any(|other| store_name(&other.asked) == name) {
            notifier.forget(&name);
        }
    }

    /// Returns the client listeners as URLs, with their real ports.
    pub fn client_urls(&self) -> Vec<String> {
        self.clients.iter().flat_map(Open::urls).map(|url| url.to_string()).collect()
    }

    /// Returns the metrics listeners as URLs, with their real ports.
    pub fn metrics_urls(&self) -> Vec<String> {
        self.metrics.iter().flat_map(Open::urls).map(|url| url.to_string()).collect()
    }

    fn own_addresses(&self) -> Vec<SocketAddr> {
        self.clients
            .iter()
            .chain(&self.metrics)
            .filter_map(|open| open.bound.url.tcp_address())
            .collect()
    }

    /// Returns the TCP addresses of the client listeners, by which our own address is recognized
    /// when a member advertises it.
    pub fn client_addresses(&self) -> Vec<SocketAddr> {
        self.clients.iter().filter_map(|open| open.bound.url.tcp_address()).collect()
    }
}

impl Plan {
    /// Returns the TCP addresses that the plan adds for clients.
    pub fn client_addresses(&self) -> Vec<SocketAddr> {
        self.clients.iter().filter_map(|(_, _, bound)| bound.url.tcp_address()).collect()
    }
}

/// Asks the service manager to keep the sockets of an address for the next run.
fn store(notifier: &mut Notifier, asked: &ListenAddress, bound: &mut Bound) {
    if !bound.of_unit {
        let kept = notifier.store(&store_name(asked), &bound.sockets);
        bound.keep_file(kept);
    }
}

/// Closes sockets of the last run that the settings no longer name, and warns about those that a
/// socket unit keeps open.
pub fn let_go(inherited: Inherited, notifier: &mut Notifier) {
    for leftover in inherited.leftovers() {
        match leftover {
            Leftover::Stored(name) => {
                tracing::info!(
                    every = true,
                    name,
                    "closing a listener of the last run that is not configured any more"
                );
                notifier.forget(&name);
            }
            Leftover::OfUnit(name, at) => tracing::warn!(
                name, address = %ListenUrl { at, tls: false },
                "a socket unit holds an address that no setting names: connections to it wait for ever; add it to `listen-client-urls`"
            ),
        }
    }
}

fn is_named(urls: &[ListenUrl], open: &Open) -> bool {
    urls.iter().any(|url| url.at == open.asked)
}

/// Binds each address that is not open yet, once.
fn bind_missing(
    open: &[Open],
    wanted: &[ListenUrl],
    sockets: NonZeroUsize,
    own: &[SocketAddr],
    inherited: &mut Inherited,
) -> Result<Vec<(ListenAddress, ListenScheme, Bound)>, Vec<BindError>> {
    let is_any = |at: &ListenAddress| matches!(at, ListenAddress::Tcp(at) if at.port() == 0);
    let mut missing: Vec<ListenUrl> = Vec::new();
    for url in wanted.iter().filter(|url| !open.iter().any(|open| open.asked == url.at)) {
        if is_any(&url.at) || !missing.iter().any(|earlier| earlier.at == url.at) {
            missing.push(url.clone());
        }
    }
    let bound = bind_all(&missing, sockets, own, inherited)?;
    let scheme = |at: &ListenAddress, tls| {
        let alone = if tls { ListenScheme::Tls } else { ListenScheme::Plain };
        ListenScheme::of(wanted, at).unwrap_or(alone)
    };
    let opened = missing.into_iter().zip(bound);
    Ok(opened.map(|(url, bound)| (url.at.clone(), scheme(&url.at, url.tls), bound)).collect())
}
