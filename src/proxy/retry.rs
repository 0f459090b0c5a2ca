//! Decides whether a failed request may go to the next member: the table of ARCHITECTURE.md as
//! code.
//!
//! A write reaches at most one member, once: it is retried only while the member is sure not to
//! have acted. A read is retried until there is a response to pass on: its head, or for short gRPC
//! answers all of it. A long stream is retried only if nothing was done; after that its client,
//! which knows how far it got, opens a new one.

use super::failure::Failure;
use crate::message::rpc::RpcKind;

/// Returns whether a request of this kind may be tried on another member after `failure`.
pub fn may_retry(kind: RpcKind, failure: Failure) -> bool {
    match failure {
        Failure::NoEndpoints | Failure::Incomplete | Failure::TooMany | Failure::Stopping => false,
        Failure::NoHttp
        | Failure::Unreachable
        | Failure::Unproved
        | Failure::NotSent
        | Failure::Refused => true,
        Failure::Lost | Failure::Reset(_) | Failure::Silent => kind == RpcKind::Read,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Failure::{
        Incomplete, Lost, NoEndpoints, NoHttp, NotSent, Refused, Reset, Silent, Stopping, Unproved,
        Unreachable,
    };
    use RpcKind::{Bulk, Read, Stream, Write};

    #[test]
    fn the_retry_table_holds() {
        for (failure, read, write, stream) in [
            (NoHttp, true, true, true),
            (Unreachable, true, true, true),
            (Unproved, true, true, true),
            (NotSent, true, true, true),
            (Refused, true, true, true),
            (Lost, true, false, false),
            (Reset(h2::Reason::INTERNAL_ERROR), true, false, false),
            (Silent, true, false, false),
            (Stopping, false, false, false),
            (Incomplete, false, false, false),
            (NoEndpoints, false, false, false),
        ] {
            for (kind, expected) in [(Read, read), (Write, write), (Stream, stream), (Bulk, stream)]
            {
                assert_eq!(may_retry(kind, failure), expected, "{kind:?} after {failure:?}");
            }
        }
    }
}
