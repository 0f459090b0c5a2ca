//! The listeners in force: which addresses are open, which a change adds, and which it lets go.
//!
//! A change is planned first: every new address is bound while all the old ones stay open, so that a change that cannot
//! be made leaves everything as it was. Sockets that systemd keeps for us will be taken up here too.

use std::cell::Cell;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::rc::Rc;

use tokio::task::AbortHandle;

use super::fleet::Fleet;
use super::pages::{Renderer, serve_metrics};
use crate::config::{ListenAddress, ListenUrl, Settings};
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
    asked: ListenUrl,
    /// Keeps a unix socket's file.
    bound: Bound,
    number: u64,
    /// The task of a metrics listener, and whether its new connections must speak TLS.
    task: Option<(AbortHandle, Rc<Cell<bool>>)>,
}

/// New addresses, bound and not served yet.
pub struct Plan {
    clients: Vec<(ListenUrl, Bound)>,
    metrics: Vec<(ListenUrl, Bound)>,
}

impl Listeners {
    /// Binds the addresses of `settings` that are not open yet.
    ///
    /// # Errors
    /// One for each address that cannot be had; nothing has changed then.
    pub fn plan(&self, settings: &Settings) -> Result<Plan, Vec<BindError>> {
        let own = self.own_addresses();
        let clients =
            bind_missing(&self.clients, &settings.listen_client_urls, settings.workers, &own);
        let metrics =
            bind_missing(&self.metrics, &settings.listen_metrics_urls, NonZeroUsize::MIN, &own);
        match (clients, metrics) {
            (Ok(clients), Ok(metrics)) => Ok(Plan { clients, metrics }),
            (clients, metrics) => {
                let mut errors = clients.err().unwrap_or_default();
                errors.extend(metrics.err().unwrap_or_default());
                Err(errors)
            }
        }
    }

    /// Serves what was planned, and closes what `settings` do not name any more.
    pub fn commit(&mut self, plan: Plan, settings: &Settings, fleet: &Fleet, renderer: &Renderer) {
        renderer.set_profiles(settings.enable_pprof);
        for (asked, mut bound) in plan.clients {
            self.next += 1;
            fleet.open(self.next, &mut bound);
            tracing::info!(url = %bound.url, "serving clients");
            self.clients.push(Open { asked, bound, number: self.next, task: None });
        }
        for (asked, mut bound) in plan.metrics {
            tracing::info!(url = %bound.url, "serving metrics");
            let socket = bound.take_sockets().pop();
            let tls = Rc::new(Cell::new(bound.url.tls));
            let serve = socket.map(|socket| serve_metrics(socket, renderer.clone(), tls.clone()));
            let task = serve.map(|serve| (tokio::task::spawn_local(serve).abort_handle(), tls));
            self.metrics.push(Open { asked, bound, number: 0, task });
        }
        self.close_others(settings, fleet);
        self.change_schemes(settings, fleet);
    }

    /// An address that stays and changes its scheme keeps its socket.
    fn change_schemes(&mut self, settings: &Settings, fleet: &Fleet) {
        let clients = (&mut self.clients, &settings.listen_client_urls);
        let metrics = (&mut self.metrics, &settings.listen_metrics_urls);
        for (open, wanted) in [clients, metrics] {
            for open in open {
                let Some(url) = wanted.iter().find(|url| url.at == open.asked.at) else { continue };
                if url.tls == open.asked.tls {
                    continue;
                }
                open.asked.tls = url.tls;
                open.bound.url.tls = url.tls;
                match &open.task {
                    Some((_, tls)) => tls.set(url.tls),
                    None => fleet.speak(open.number, url.tls),
                }
                tracing::info!(url = %open.bound.url, "new connections here use another scheme");
            }
        }
    }

    fn close_others(&mut self, settings: &Settings, fleet: &Fleet) {
        self.clients.retain(|open| {
            let stays = is_named(&settings.listen_client_urls, open);
            if !stays {
                tracing::info!(url = %open.bound.url, "closing a client listener; its connections finish");
                fleet.close(open.number);
            }
            stays
        });
        self.metrics.retain(|open| {
            let stays = is_named(&settings.listen_metrics_urls, open);
            if let (false, Some((task, _))) = (stays, &open.task) {
                task.abort();
            }
            stays
        });
    }

    /// The client listeners as URLs, with their real ports.
    pub fn client_urls(&self) -> Vec<String> {
        self.clients.iter().map(|open| open.bound.url.to_string()).collect()
    }

    /// The metrics listeners as URLs, with their real ports.
    pub fn metrics_urls(&self) -> Vec<String> {
        self.metrics.iter().map(|open| open.bound.url.to_string()).collect()
    }

    fn own_addresses(&self) -> Vec<SocketAddr> {
        self.clients
            .iter()
            .chain(&self.metrics)
            .filter_map(|open| address(&open.bound.url))
            .collect()
    }

    /// The TCP addresses that clients are served on, to know our own when a member advertises them.
    pub fn client_addresses(&self) -> Vec<SocketAddr> {
        self.clients.iter().filter_map(|open| address(&open.bound.url)).collect()
    }
}

impl Plan {
    /// The TCP addresses that it would add for clients.
    pub fn client_addresses(&self) -> Vec<SocketAddr> {
        self.clients.iter().filter_map(|(_, bound)| address(&bound.url)).collect()
    }
}

fn address(url: &ListenUrl) -> Option<SocketAddr> {
    match url.at {
        ListenAddress::Tcp(address) => Some(address),
        ListenAddress::Unix(_) => None,
    }
}

fn is_named(urls: &[ListenUrl], open: &Open) -> bool {
    urls.iter().any(|url| url.at == open.asked.at)
}

fn bind_missing(
    open: &[Open],
    wanted: &[ListenUrl],
    sockets: NonZeroUsize,
    own: &[SocketAddr],
) -> Result<Vec<(ListenUrl, Bound)>, Vec<BindError>> {
    let missing: Vec<ListenUrl> = wanted
        .iter()
        .filter(|url| !open.iter().any(|open| open.asked.at == url.at))
        .cloned()
        .collect();
    let bound = bind_all(&missing, sockets, own)?;
    Ok(missing.into_iter().zip(bound).collect())
}
