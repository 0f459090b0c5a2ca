//! Sockets: listening, connecting, and knowing which addresses are our own.

pub mod crowd;
pub mod dial;
pub mod gather;
pub mod inherited;
pub mod line;
pub mod listen;
pub mod lookup;
pub mod member_address;
pub mod occupant;
pub mod own;
pub mod socket_file;
