//! The client side: listeners, connections, their limits, and what we answer ourselves.

pub mod admin;
