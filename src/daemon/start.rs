//! The start: all listeners are bound and the workers run before the first peer is asked.

use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::apply_errors;
use super::certificates::Certificates;
use super::control::{Control, End, Events};
use super::endpoint_set::EndpointSet;
use super::history::History;
use super::listeners::{Listeners, let_go};
use super::memory::Keeper;
use super::pages::Renderer;
use super::probes::Probes;
use super::signals::Signals;
use super::status_source::StatusSource;
use super::systemd::Notifier;
use super::watch::FileWatcher;
use super::workers::Workers;
use crate::cluster::tracker::{Setup, Tracker};
use crate::config::{Inputs, Loaded, Problems, Severity, Style, one_lines};
use crate::net::inherited::Inherited;
use crate::proxy::generation::Generation;
use crate::server::admin::{AdminSocket, Answers, MOST_RELOADS, ReloadRequest};
use crate::server::local::RenderHandle;
use crate::telemetry::log::{self, LogError, LogHandle};
use crate::telemetry::time::now_ms;
use crate::telemetry::{heap, memory};
use crate::tls::TlsConfigs;

/// Page requests that may be queued while one is rendered.
const RENDER_QUEUE: usize = 64;

/// How long clients that waited through a restart are held at most: after this they are served even
/// without a member list.
const LONGEST_HOLD: Duration = Duration::from_secs(3);

/// Why the daemon could not be started, one line for each reason.
type Reasons = Vec<String>;

/// Runs the daemon with these settings and these TLS configs until it is told to stop.
pub fn run(inputs: Inputs, loaded: Loaded, tls_configs: TlsConfigs) -> ExitCode {
    if memory::address_space_limit().is_some() {
        heap::keep_to_one();
    }
    let log = match log::init(&loaded.settings.log) {
        // Kept until the end: dropping the last handle waits for the last lines to be written,
        // including the reasons of a failed start.
        Ok(log) => Rc::new(log),
        Err(errors) => return not_started(&errors, &loaded),
    };
    for problem in loaded.warnings.iter().take(Problems::SHOWN) {
        match problem.severity {
            Severity::Notice => tracing::info!("{}", problem.one_line()),
            _ => tracing::warn!("{}", problem.one_line()),
        }
    }
    raise_descriptor_limit();
    let runtime = match Builder::new_current_thread().enable_all().build_local(Default::default()) {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start the runtime");
            return ExitCode::FAILURE;
        }
    };
    let end = runtime.block_on(async {
        let (control, events) = build(inputs, loaded, tls_configs, log.clone())?;
        Ok::<End, Reasons>(Box::pin(control.run(events)).await)
    });
    // Does not wait for blocking tasks: a hanging name lookup must not delay the exit.
    runtime.shutdown_background();
    match end {
        Ok(End::Stopped) => ExitCode::SUCCESS,
        Ok(End::WorkerLost) => ExitCode::FAILURE,
        Err(reasons) => {
            for reason in reasons {
                tracing::error!("not started: {reason}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Reports why the log cannot be opened, and with it the addresses that cannot be bound, so that a
/// second problem is not found only at the next start.
fn not_started(errors: &[LogError], loaded: &Loaded) -> ExitCode {
    let mut problems = Problems(apply_errors::of_log(errors, loaded));
    if let Err(errors) = Listeners::default().plan(&loaded.settings, &mut Inherited::from_env()) {
        problems.0.extend(apply_errors::of_listeners(&errors, loaded));
    }
    problems.sort();
    eprint!("{}", problems.report(Style::Plain, "not started"));
    ExitCode::from(problems.exit_status())
}

/// Binds all listeners and starts all tasks. No peer has been asked yet.
fn build(
    inputs: Inputs,
    loaded: Loaded,
    tls_configs: TlsConfigs,
    log: Rc<LogHandle>,
) -> Result<(Control, Events), Reasons> {
    let settings = &loaded.settings;
    let why = |error: std::io::Error| vec![error.to_string()];
    let signals = Signals::new().map_err(why)?;
    let mut inherited = Inherited::from_env();
    let clients_wait = !inherited.is_empty();
    let plan = Listeners::default()
        .plan(settings, &mut inherited)
        .map_err(|errors| one_lines(&apply_errors::of_listeners(&errors, &loaded)))?;
    let newest =
        Arc::new(ArcSwap::from_pointee(Generation::build(1, settings, &tls_configs, Vec::new())));
    let (requests, asked) = mpsc::channel(RENDER_QUEUE);
    let mut workers =
        Workers::start(settings.workers.get(), &newest, &RenderHandle(requests)).map_err(why)?;
    let status_source =
        Arc::new(StatusSource::new(workers.counters.clone(), workers.conn_limit.clone()));
    let renderer = Renderer::new(status_source.clone());
    tokio::task::spawn_local(renderer.clone().serve(asked));
    let mut listeners = Listeners::default();
    renderer.set_acceptor(tls_configs.acceptor.clone());
    let mut notifier = Notifier::from_env();
    if clients_wait {
        workers.hold();
    }
    listeners.commit(plan, settings, &mut workers, &renderer, &mut notifier);
    let_go(inherited, &mut notifier);
    let keeper = Keeper::new(workers.conn_limit.clone(), workers.notifier(), status_source.clone());
    tokio::task::spawn_local(keeper.run());
    let commands = serve_admin(&loaded, status_source.clone());
    let (probes, health) = Probes::new(workers.notifier());
    let watched = loaded.file.clone().unwrap_or_else(|| inputs.default_file.clone());
    let tracker = Tracker::new(Setup::new(settings, &tls_configs));
    let control = Control {
        source_changes: tracker.source_changes(),
        tracker,
        listed: Arc::default(),
        endpoint_set: EndpointSet::new(settings.workers.get()),
        number: 1,
        newest,
        workers,
        listeners,
        renderer,
        probes,
        history: History::default(),
        status_source,
        notifier,
        watch: FileWatcher::since(watched, loaded.text.clone()),
        started_ms: now_ms(),
        ready: false,
        draining: false,
        refreshing: None,
        refresh_at: Instant::now(),
        open_at: Instant::now() + LONGEST_HOLD,
        inputs,
        certificates: Certificates::follow(&loaded.settings),
        loaded,
        tls_configs,
        log,
    };
    Ok((control, Events { signals, health, commands }))
}

/// Opens the admin socket. The daemon runs without one too, because only root may write to its
/// default directory.
fn serve_admin(loaded: &Loaded, status_source: Arc<StatusSource>) -> mpsc::Receiver<ReloadRequest> {
    let (reload, commands) = mpsc::channel(MOST_RELOADS);
    let path = &loaded.settings.admin_socket;
    match AdminSocket::bind(path) {
        Ok(socket) => {
            let answers = Answers { snapshot: Arc::new(move || status_source.snapshot()), reload };
            tokio::task::spawn_local(async move {
                if let Err(error) = socket.serve(answers, std::future::pending()).await {
                    tracing::error!(%error, "cannot serve the admin socket");
                }
            });
        }
        Err(error) => tracing::warn!(
            %error, path = %path.display(),
            "no admin socket, so `status` and `reload` will not work; set `admin-socket` to a path that can be written"
        ),
    }
    commands
}

/// Raises the soft limit of open files to the hard one: a client connection needs up to three
/// descriptors, and the usual soft limit is 1024.
fn raise_descriptor_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_err()
    {
        tracing::debug!(soft, hard, "cannot raise the limit of open files");
    }
}
