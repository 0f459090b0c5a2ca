//! Tests of the built binary and of the daemon against scripted members.

#[path = "../support/mod.rs"]
mod support;

mod retries;
mod settings;
