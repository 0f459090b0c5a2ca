//! Tests of the built binary and of the daemon against scripted members.

mod settings;
