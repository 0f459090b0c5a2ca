//! One HTTP/1.1 connection to a member: its stream, and the bytes read but not yet taken.

use std::cell::RefCell;
use std::io;
use std::mem::take;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::Response;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::error::Error;
use super::framing::ResponseFraming;
use super::head::{self, Parsed};
use super::outbox::Outbox;
use super::request::RequestHead;
use super::upload::Upload;
use super::whole_chunk::PartialChunk;
use crate::message::replay_body::ReplayBody;
use crate::tls::HandshakeError;
use crate::upstream::io::MemberIo;

/// Most bytes of one read.
const READ: usize = 64 * 1024;
/// Largest head of a response that is accepted, in bytes; etcd's are far smaller. It limits
/// members, not clients.
const MAX_HEAD: usize = 1024 * 1024;
/// Most informational (1xx) responses before an answer; etcd sends none.
const MAX_INTERIM: usize = 16;

thread_local! {
    /// The buffer that a worker's connections read into. Received bytes are copied to a buffer of
    /// their size, so an idle watcher holds none.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

/// A connection, with the exchange that it carries.
pub struct Connection {
    io: MemberIo,
    /// Bytes read but not yet taken.
    inbox: Bytes,
    /// How many bytes of the inbox were searched for the end of a head.
    searched: usize,
    /// Whether the last read filled the scratch buffer, so that a large body is probably coming.
    flowing: bool,
    outbox: Outbox,
    upload: Upload,
    /// Whether any of the current request was written.
    has_written: bool,
    /// Whether the member keeps the connection open after its answer.
    keeps: bool,
    /// How many informational responses the current request got.
    interim: usize,
    /// Whether the member has sent a head before.
    has_spoken: bool,
}

impl Connection {
    /// Creates a connection without a request.
    pub fn new(io: MemberIo) -> Self {
        Self {
            io,
            inbox: Bytes::new(),
            searched: 0,
            flowing: false,
            outbox: Outbox::default(),
            upload: Upload::Done,
            has_written: false,
            keeps: true,
            interim: 0,
            has_spoken: false,
        }
    }

    /// Returns the epoch of its worker endpoint in which it was made.
    pub fn epoch(&self) -> u64 {
        self.io.epoch()
    }

    /// Returns whether nothing was received, neither bytes nor the end of the stream. Costs a
    /// system call only if something was.
    pub fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let read = Pin::new(&mut self.io)
            .poll_read(&mut Context::from_waker(Waker::noop()), &mut ReadBuf::new(&mut byte));
        self.inbox.is_empty() && read.is_pending()
    }

    /// Begins a request; nothing is written yet.
    pub fn begin(&mut self, head: &RequestHead<'_>, body: ReplayBody) {
        let (own, framing) = head.write(&body);
        self.outbox.fill(own);
        self.upload = Upload::new(body, framing);
        self.has_written = false;
        self.interim = 0;
    }

    /// Returns whether any of the current request was written.
    pub fn has_written(&self) -> bool {
        self.has_written
    }

    /// Returns why the member has turned us away in TLS, if it has.
    pub fn refusal(&self) -> Option<HandshakeError> {
        self.io.state().refusal().cloned()
    }

    /// Returns whether another request may follow, once the answer to this one was read to its end.
    pub fn is_reusable(&self) -> bool {
        self.keeps && self.upload.is_done() && self.outbox.is_empty() && self.inbox.is_empty()
    }

    /// Writes as much of the request as there is. Ready once all of it is written, or writing has
    /// failed.
    ///
    /// # Errors
    /// The stream's, or [`Error::ClientBody`]. Returned only once; the connection cannot be reused
    /// after that.
    pub fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.upload.is_done() && self.outbox.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let result = ready!(self.poll_write(cx));
        if result.is_err() {
            self.upload = Upload::Failed;
            self.outbox = Outbox::default();
        }
        Poll::Ready(result)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut waits = false;
        loop {
            // Body bytes that the client sent together with the head are written together with it.
            if !self.upload.is_done() && self.outbox.takes_more() {
                waits = self.upload.poll_next(cx, &mut self.outbox)?.is_pending();
            }
            let io = Pin::new(&mut self.io);
            let written = ready!(self.outbox.poll_write(io, cx, &mut self.has_written));
            // TLS may have sent some records of a write that failed as a whole.
            self.has_written |= written.is_err() && self.io.is_tls();
            written?;
            if waits || self.upload.is_done() {
                break;
            }
        }
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        if self.upload.is_done() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Waits for the head of the response; `to_head` tells that the request was a HEAD.
    ///
    /// # Errors
    /// When the connection ends before that, or the member sends something else.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        to_head: bool,
    ) -> Poll<Result<(Response<()>, ResponseFraming), Error>> {
        loop {
            match self.parse_head(to_head)? {
                Some(Parsed::Final { head, framing, keeps }) => {
                    self.keeps = keeps;
                    return Poll::Ready(Ok((head, framing)));
                }
                Some(Parsed::Interim) if self.interim < MAX_INTERIM => self.interim += 1,
                Some(Parsed::Interim) => {
                    return Poll::Ready(Err(Error::Head("too many informational responses")));
                }
                None if ready!(self.poll_fill(cx))? == 0 => {
                    return Poll::Ready(Err(Error::Closed));
                }
                None => {}
            }
        }
    }

    /// Takes a head out of the inbox; `None` while it is not complete.
    fn parse_head(&mut self, to_head: bool) -> Result<Option<Parsed>, Error> {
        if self.inbox.is_empty() {
            return Ok(None);
        }
        if !self.has_spoken && self.inbox[0] == 0 {
            return self.parse_http2();
        }
        if self.may_end_a_head()
            && let Some((length, parsed)) = head::parse(&self.inbox, to_head)?
        {
            self.inbox.advance(length);
            self.searched = 0;
            self.has_spoken = true;
            return Ok(Some(parsed));
        }
        self.searched = self.inbox.len();
        if self.searched > MAX_HEAD { Err(Error::TooLarge(MAX_HEAD)) } else { Ok(None) }
    }

    /// Checks whether the inbox begins with the frame that begins HTTP/2 (RFC 9113 section 3.4) in
    /// place of a head: SETTINGS without the ACK flag, on stream 0.
    fn parse_http2(&self) -> Result<Option<Parsed>, Error> {
        match self.inbox[..] {
            [_, high, low, 4, 0, 0, 0, 0, 0, ..] if u16::from_be_bytes([high, low]) % 6 == 0 => {
                Err(Error::Http2)
            }
            [_, _, _, _, _, _, _, _, _, ..] => Err(Error::Head("invalid status line")),
            _ => Ok(None),
        }
    }

    /// Returns whether a parse is worthwhile: a head that arrives byte by byte must not be parsed
    /// once for each byte.
    fn may_end_a_head(&self) -> bool {
        self.searched == 0 || self.inbox[self.searched..].contains(&b'\n')
    }

    /// Reads once, and appends to the inbox. Returns the number of bytes; zero is the end of the
    /// stream.
    ///
    /// # Errors
    /// The stream's.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.flowing && self.inbox.is_empty() {
            return self.poll_fill_directly(cx);
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut read = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
            let filled = read.filled();
            self.flowing = filled.len() == READ;
            put_behind(&mut self.inbox, filled);
            Poll::Ready(Ok(filled.len()))
        })
    }

    /// Reads into a buffer that becomes the inbox itself, which saves the copy of large reads.
    fn poll_fill_directly(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut buffer = BytesMut::with_capacity(READ);
        let read = pin!(self.io.read_buf(&mut buffer)).as_mut().poll(cx);
        let Poll::Ready(read) = read else {
            self.flowing = false;
            return Poll::Pending;
        };
        let count = read?;
        self.flowing = count >= READ / 2;
        self.inbox = if self.flowing { buffer.freeze() } else { Bytes::copy_from_slice(&buffer) };
        Poll::Ready(Ok(count))
    }

    /// Reads once into the missing part of a chunk, past the inbox, which must be empty. Returns
    /// the number of bytes; zero is the end of the stream.
    ///
    /// # Errors
    /// The stream's.
    pub fn poll_fill_part(
        &mut self,
        cx: &mut Context<'_>,
        chunk: &mut PartialChunk,
    ) -> Poll<io::Result<usize>> {
        pin!(self.io.read_buf(&mut chunk.missing())).as_mut().poll(cx)
    }

    /// Returns the bytes read but not yet taken, to take from them.
    pub fn inbox(&mut self) -> &mut Bytes {
        &mut self.inbox
    }
}

/// Appends `more` to `inbox`, which is usually empty: it holds at most a piece of a head or of a
/// chunk's line.
fn put_behind(inbox: &mut Bytes, more: &[u8]) {
    if inbox.is_empty() {
        *inbox = Bytes::copy_from_slice(more);
        return;
    }
    let mut whole = take(inbox).try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    whole.extend_from_slice(more);
    *inbox = whole.freeze();
}
