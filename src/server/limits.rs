//! Limits of what a client may use, each with its reason. hyper 1.12 and h2 0.4.20 leave most of
//! these open or low.

use std::time::Duration;

/// Time from accept to a whole first request head. etcd gives its listeners 10 s for TLS and 5 min
/// for a head (GHSA-6vch-q96h-7gc3); a client that has sent nothing in this time never will.
pub const FIRST_HEAD: Duration = Duration::from_secs(30);

/// Time from accept to the end of the TLS handshake; etcd's limit.
pub const HANDSHAKE: Duration = Duration::from_secs(10);

/// Time for a client that owes the rest of a head, a frame or a body; then its connection is cut. A
/// head or a frame must be complete by then; of a body, the next piece must have come.
pub const OWED: Duration = Duration::from_secs(30);

/// Time after which an HTTP/1 connection without a request is closed. etcd never closes one. This
/// only collects forgotten connections; TCP keepalive finds clients that are gone.
pub const IDLE: Duration = Duration::from_secs(3600);

/// The time limits of a connection; tests shorten them.
#[derive(Debug, Clone, Copy)]
pub struct ClientTimeouts {
    /// [`HANDSHAKE`].
    pub handshake: Duration,
    /// [`FIRST_HEAD`].
    pub first_head: Duration,
    /// [`OWED`].
    pub owed: Duration,
    /// [`IDLE`].
    pub idle: Duration,
    /// [`IDLE_CHECK_INTERVAL`].
    pub idle_check_interval: Duration,
}

impl Default for ClientTimeouts {
    fn default() -> Self {
        Self {
            handshake: HANDSHAKE,
            first_head: FIRST_HEAD,
            owed: OWED,
            idle: IDLE,
            idle_check_interval: IDLE_CHECK_INTERVAL,
        }
    }
}

/// Idle time and interval of TCP keepalive on client connections, as for Go's listeners.
pub const KEEPALIVE: Duration = Duration::from_secs(30);

/// Largest head of an HTTP/1 request, in bytes. Tokens and cookies fit many times; Go's default is
/// 1 MiB.
pub const HTTP1_HEAD: usize = 128 * 1024;

/// Streams that a client may have open at a time. etcd's default is unlimited; hyper's 200 would
/// silently stall a client's 201st watch.
pub const STREAMS: u32 = 10_000;

/// The largest frame that a client may send, in bytes: the least that HTTP/2 allows, and hyper's
/// default. Whether an upload is stuck at a member is judged by the frames that were passed on.
pub const FRAME: u32 = 16 * 1024;

/// Bytes held of one request body that the member does not take yet.
pub const STREAM_WINDOW: u32 = 1 << 20;

/// The same for all request bodies of one connection. h2's budget for small frames follows it too,
/// half of which must cover the bodies of all calls that a client starts at once.
pub const CONNECTION_WINDOW: u32 = 64 << 20;

/// Bytes of decoded headers of one HTTP/2 request. A read keeps its headers until its answer
/// begins, and a client may have [`STREAMS`] of them; tokens take a few KiB.
pub const HEADER_LIST: u32 = 64 * 1024;

/// Bytes held of one answer that the client does not read yet, beyond what its window takes.
pub const SEND_BUFFER: usize = 128 * 1024;

/// Streams that a client may reset before they are served. Hundreds of watches cancelled at once
/// are normal for etcd's clients; hyper's 20 would end the connection.
pub const PENDING_RESETS: usize = 4096;

/// Streams that we may have to reset for a client's errors before its connection is ended, counted
/// over the connection's life. A connection lives for months, and rare errors must not add up to
/// its end; a flood still does.
pub const LOCAL_RESETS: usize = 65_536;

/// Time for which a connection that ends in the middle of a request is read on. Closed with bytes
/// unread it would be reset, and the client might lose the answer that says why (nginx has
/// `lingering_close` for that).
pub const UNREAD: Duration = Duration::from_secs(2);

/// Limit in bytes of what is then read.
pub const UNREAD_BYTES: usize = 16 << 20;

/// Pause after an accept that failed for lack of descriptors or memory, so that the loop does not
/// spin.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Interval of the check whether a connection has expired.
pub const IDLE_CHECK_INTERVAL: Duration = Duration::from_secs(15);
