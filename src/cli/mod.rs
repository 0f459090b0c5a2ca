//! The command line: what was typed, and the commands that are not the daemon.
