//! Tests of the built binary and of the daemon against scripted members.

#[path = "../support/mod.rs"]
mod support;

mod authority;
mod blocked_files;
mod cancel;
mod chaos;
mod demo;
mod dependencies;
mod discovery;
mod discovery_v3;
mod drain;
mod early_answers;
mod fallback;
mod floods;
mod floors;
mod garbage;
mod generated;
mod held;
mod hung;
mod isolation;
mod loops;
mod malformed;
mod member_list;
mod memory;
mod occupied;
mod pages;
mod promote;
mod proof;
mod reload;
mod retries;
mod scripted_registry;
mod scripted_registry_v3;
mod secrets;
mod settings;
mod soak;
mod split;
mod starving;
mod status_json;
mod strange_members;
mod stuck;
mod timeouts;
mod tls;
mod transparency;
mod troubleshooting;
mod websocket;
