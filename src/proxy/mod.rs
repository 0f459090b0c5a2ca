//! What happens to one request between the listener and the member.

pub mod classify;
pub mod readonly;
