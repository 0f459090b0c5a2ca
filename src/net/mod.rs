//! Sockets: listening, connecting, and knowing which addresses are our own.

pub mod listen;
pub mod occupant;
pub mod socket_file;
