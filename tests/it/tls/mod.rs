//! TLS: the files that settings name, the listeners that use them, and changes of the files.

mod files;
mod fixture;
mod listeners;
mod members;
mod reload;
mod start;
mod upstream;
