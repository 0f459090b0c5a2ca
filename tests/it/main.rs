//! Tests of the built binary and of the daemon against scripted members.

#[path = "../support/mod.rs"]
mod support;

mod cancel;
mod hung;
mod loops;
mod malformed;
mod retries;
mod settings;
mod transparency;
mod websocket;
