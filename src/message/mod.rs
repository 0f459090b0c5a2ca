//! What passes through: bodies, headers, gRPC paths and frames, and our own replies.

pub mod discard;
pub mod grpc;
pub mod headers;
pub mod owed;
pub mod reason;
pub mod replay_body;
pub mod reply;
pub mod rpc;
