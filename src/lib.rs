//! etcd-proxy: makes an etcd cluster look like a local service on every machine.
//!
//! Two planes share one pointer. The **data plane** is a handful of threads, each with its own runtime, listeners and
//! connections; a request never leaves its thread and never waits for the other plane. The **control plane** is the main
//! thread: it reads settings, follows the cluster, and publishes an immutable
//! [`Generation`](proxy::generation::Generation) whenever either changes.
//!
//! The way of a request, without jumping back:
//!
//! 1. [`server::listener`] accepts it, [`server::connection`] speaks its protocol, [`server::gatehouse`] looks at it first.
//! 2. [`proxy::forward`] finds out what it is and whether it may pass, and tries members as the retry rules allow.
//! 3. [`upstream::balance`] chooses one, [`upstream::link`] has a connection to it, [`upstream::http1`] or
//!    [`upstream::http2`] carries the exchange.
//!
//! The way of a member, from the other side: [`cluster::tracker`] asks the peers, [`cluster::usable`] judges the list,
//! [`daemon::roster`] makes endpoints of it, and [`daemon::control`] puts them in force.
//!
//! | floor | modules | know only what is below |
//! |---|---|---|
//! | 7 | [`cli`] | what was typed |
//! | 6 | [`daemon`] | the control plane, and the threads of the data plane |
//! | 5 | [`server`] | clients |
//! | 4 | [`proxy`] | one request |
//! | 3 | [`cluster`] and [`upstream`] | where members come from, and how they are reached; neither knows the other |
//! | 2 | [`net`], [`telemetry`] | sockets; logs, metrics, the snapshot |
//! | 1 | [`config`], [`message`] | settings; bodies, headers, RPCs |

// The map links to modules that are private: it is for who reads the source.
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
