//! The command line: what was typed, and the commands that are not the daemon.

pub mod ask;
pub mod reload;
pub mod status;
pub mod table;
