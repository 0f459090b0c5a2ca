//! Configures hyper for client connections, with the limits of [`limits`].

use std::future::Future;

use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};

use crate::server::limits;

/// Spawns the tasks of an HTTP/2 connection on the worker's own thread.
#[derive(Clone, Copy)]
pub(super) struct OnThisThread;

impl<F: Future + 'static> Executor<F> for OnThisThread
where
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// Returns the configuration of HTTP/1 connections.
pub(super) fn http1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    // hyper accepts 100 headers (Go limits only their bytes). Setting another number costs two
    // allocations per request.
    builder
        // The driver has one timer per connection, in place of hyper's one per request.
        .header_read_timeout(None)
        .max_buf_size(limits::HTTP1_HEAD);
    builder
}

/// Returns the configuration of HTTP/2 connections.
pub(super) fn http2_builder() -> http2::Builder<OnThisThread> {
    let mut builder = http2::Builder::new(OnThisThread);
    builder
        .initial_stream_window_size(limits::STREAM_WINDOW)
        .initial_connection_window_size(limits::CONNECTION_WINDOW)
        .max_concurrent_streams(limits::STREAMS)
        .max_frame_size(limits::FRAME)
        .max_header_list_size(limits::HEADER_LIST)
        .max_send_buf_size(limits::SEND_BUFFER)
        .max_pending_accept_reset_streams(limits::PENDING_RESETS)
        .max_local_error_reset_streams(limits::LOCAL_RESETS)
        .auto_date_header(false);
    builder
}
