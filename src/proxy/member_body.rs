//! The body of a member's response before it is on its way to the client.

use crate::upstream::{http1, http2};

/// The body of a member's response, by protocol.
pub enum MemberBody {
    /// Over HTTP/1.1.
    Http1(http1::ResponseBody),
    /// Over HTTP/2.
    Http2(Box<http2::ResponseBody>),
}
