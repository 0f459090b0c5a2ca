//! Handles one request between the listener and the member.
//!
//! [`forward::forward`] runs the steps: [`classify`] identifies the request, [`readonly`] decides
//! whether it may pass, [`outgoing`] prepares it, [`attempt`] sends it to one member, [`retry`]
//! decides whether another member is tried, and [`reply_body`] carries the answer back. With
//! `rewrite-members` set, [`member_list`] rewrites the answers to four requests on the way.

pub mod advertised;
pub mod attempt;
pub mod classify;
pub mod client;
pub mod failure;
pub mod first_proof;
pub mod forward;
pub mod generation;
pub mod hung;
pub mod inspect;
pub mod member_body;
pub mod member_list;
pub mod meter;
pub mod outgoing;
pub mod readonly;
pub mod reply_body;
pub mod retry;
mod slots;
pub mod waiting;
pub mod websocket;
pub mod worker;
