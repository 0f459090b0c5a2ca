//! Sockets: listening, connecting, and knowing which addresses are our own.
