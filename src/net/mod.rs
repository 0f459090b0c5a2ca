//! Sockets: listening, connecting, and knowing which addresses are our own.

pub mod dial;
pub mod own;
