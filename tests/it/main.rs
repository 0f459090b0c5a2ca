//! Tests of the built binary and of the daemon against scripted members.

#[path = "../support/mod.rs"]
mod support;

mod cancel;
mod chaos;
mod drain;
mod floods;
mod floors;
mod hung;
mod isolation;
mod loops;
mod malformed;
mod pages;
mod reload;
mod retries;
mod settings;
mod strange_members;
mod transparency;
mod websocket;
