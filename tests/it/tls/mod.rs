//! TLS: the files that settings name, listeners that use them, and what happens when they change.

mod desk;
mod files;
mod listeners;
mod members;
mod reload;
mod start;
mod upstream;
