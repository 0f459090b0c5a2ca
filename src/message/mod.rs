//! Forwarded messages (bodies, headers, gRPC paths and frames), and the proxy's own replies.

pub mod discard;
pub mod grpc;
pub mod headers;
pub mod owed;
pub mod reason;
pub mod replay_body;
pub mod reply;
pub mod rpc;
