//! etcd-proxy: makes an etcd cluster look like a local service on every machine.
//!
//! Two planes share one pointer. The **data plane** is a handful of threads, each with its own
//! runtime, listeners and connections; a request never leaves its thread and never waits for the
//! other plane. The **control plane** is the main thread: it reads settings, follows the cluster,
//! and publishes an immutable [`Generation`](proxy::generation::Generation): after each refresh
//! that brought a good member list, also an equal one, and after each reload and each change of a
//! TLS file that changed something.
//!
//! `ARCHITECTURE.md` describes the life of a request, of a refresh and of a reload, the invariants
//! and their tests, and where to change what.
//!
//! The path of a request, in reading order:
//!
//! 1. [`server::listener`] accepts its connection, [`server::connection`] drives it, and
//!    [`server::service`] answers the request.
//! 2. [`proxy::forward`] classifies it, decides whether it may be forwarded, and tries members as
//!    [`proxy::retry`] allows.
//! 3. [`upstream::balance`] chooses a member, [`upstream::worker_endpoint`] provides a connection
//!    to it, and [`upstream::http1`] or [`upstream::http2`] sends the request.
//!
//! The path of a member, from the other side: [`cluster::tracker`] asks the peers for the member
//! list, [`cluster::eligibility`] decides which URLs may get requests, [`daemon::endpoint_set`]
//! turns them into endpoints, and [`daemon::control`] publishes those.
//!
//! | floor | modules | job; each imports only from the floors below |
//! |---|---|---|
//! | 7 | [`cli`] | the command line |
//! | 6 | [`daemon`] | the control plane, and the threads of the data plane |
//! | 5 | [`server`] | clients |
//! | 4 | [`proxy`] | one request |
//! | 3 | [`cluster`], [`upstream`] | where members come from; how they are reached |
//! | 2 | [`tls`], [`net`], [`telemetry`] | certificates; sockets; logs, metrics, the snapshot |
//! | 1 | [`config`], [`message`] | settings; bodies, headers, RPCs |

// The map above links to private modules: it is meant for readers of the source.
#![allow(rustdoc::private_intra_doc_links)]

pub mod cli;
mod cluster;
pub mod config;
mod daemon;
pub mod message;
mod net;
pub mod proxy;
mod server;
mod telemetry;
pub mod tls;
mod upstream;
