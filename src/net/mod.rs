//! Sockets: listening, connecting, recognizing our own addresses, and the control plane's HTTP
//! client.

pub mod abort_on_drop;
pub mod coalesce;
pub mod conn_limit;
pub mod dial;
pub mod http_client;
pub mod inherited;
pub mod listen;
pub mod lookup;
pub mod maybe_tls;
pub mod member_address;
pub mod port_owner;
pub mod self_address;
pub mod socket_file;
