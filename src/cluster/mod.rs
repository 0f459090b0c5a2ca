//! Where members come from: sources, the member list, its refresh and its cache.

pub mod ask;
pub mod fetch;
pub mod fetch_error;
pub mod file;
pub mod member;
pub mod pin;
pub mod url;

#[cfg(test)]
mod scripted;
