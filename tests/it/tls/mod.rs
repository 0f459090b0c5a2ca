//! TLS: the files that settings name, listeners that use them, and what happens when they change.

mod files;
mod fixture;
mod listeners;
mod members;
mod reload;
mod start;
mod upstream;
