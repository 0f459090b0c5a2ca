//! What passes through: bodies, headers, gRPC paths and frames, and our own replies.

pub mod grpc;
pub mod rpc;
