//! One HTTP/1.1 connection to a member: its stream, and what is read and not yet given out.

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

/// Bytes read at once.
const READ: usize = 64 * 1024;
/// Largest head of a response that is accepted; etcd's are far below, and the limit is a member's,
/// not a client's.
const MAX_HEAD: usize = 1024 * 1024;
/// Answers of the kind "go on" that may precede an answer; etcd sends none.
const MAX_INTERIM: usize = 16;

thread_local! {
    /// Where a worker's connections read into. What came is copied to a buffer of its size: an idle
    /// watcher holds none.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

/// A connection, with the exchange that is on it.
pub struct Connection {
    io: MemberIo,
    /// What was read and is not given out.
    inbox: Bytes,
    /// How much of the inbox has been searched for the end of a head.
    searched: usize,
    /// Whether the last read filled the scratch buffer, so that a large body is probably coming.
    flowing: bool,
    outbox: Outbox,
    upload: Upload,
    /// Whether anything of the present request was written.
    has_written: bool,
    /// Whether the member keeps the connection open behind its answer.
    keeps: bool,
    /// How often the member has said "go on" to the present request.
    interim: usize,
    /// Whether the member has sent a head before.
    has_spoken: bool,
}

impl Connection {
    /// Makes one without a request on it.
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

    /// Under which of its worker endpoint's connectors it was made.
    pub fn epoch(&self) -> u64 {
        self.io.epoch()
    }

    /// Whether nothing has come in, and not the end either. It costs a system call only if
    /// something has.
    pub fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let read = Pin::new(&mut self.io)
            .poll_read(&mut Context::from_waker(Waker::noop()), &mut ReadBuf::new(&mut byte));
        self.inbox.is_empty() && read.is_pending()
    }

    /// Puts a request on it.
    pub fn begin(&mut self, head: &RequestHead<'_>, body: ReplayBody) {
        let (own, framing) = head.write(&body);
        self.outbox.fill(own);
        self.upload = Upload::new(body, framing);
        self.has_written = false;
        self.interim = 0;
    }

    /// Whether anything of the present request was written.
    pub fn has_written(&self) -> bool {
        self.has_written
    }

    /// Why the member has turned us away, if it has.
    pub fn refusal(&self) -> Option<HandshakeError> {
        self.io.state().refusal().cloned()
    }

    /// Whether another request may follow, once the answer to this one was read to its end.
    pub fn is_reusable(&self) -> bool {
        self.keeps && self.upload.is_done() && self.outbox.is_empty() && self.inbox.is_empty()
    }

    /// Writes what there is of the request. Ready once that was all of it, or nothing more can be.
    ///
    /// # Errors
    /// The stream's, or [`Error::ClientBody`]; only once, and the connection is not reusable then.
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
            // What the client has sent together with its head goes up together with it.
            if !self.upload.is_done() && self.outbox.takes_more() {
                waits = self.upload.poll_next(cx, &mut self.outbox)?.is_pending();
            }
            let io = Pin::new(&mut self.io);
            let written = ready!(self.outbox.poll_write(io, cx, &mut self.has_written));
            // TLS may have sent some records of a write that fails as a whole.
            self.has_written |= written.is_err() && self.io.is_tls();
            written?;
            if waits || self.upload.is_done() {
                break;
            }
        }
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        if self.upload.is_done() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Waits for the head of the response.
    ///
    /// # Errors
    /// When the connection ends before, or what comes is not a head.
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
                    return Poll::Ready(Err(Error::Head("it says \"go on\" without end")));
                }
                None if ready!(self.poll_fill(cx))? == 0 => {
                    return Poll::Ready(Err(Error::Closed));
                }
                None => {}
            }
        }
    }

    /// Takes the head out of the inbox; `None` while it is not complete.
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

    /// Looks whether what stands in the place of a head is the frame that begins HTTP/2 (RFC 9113
    /// section 3.4): SETTINGS, not an answer to one, on stream 0.
    fn parse_http2(&self) -> Result<Option<Parsed>, Error> {
        match self.inbox[..] {
            [_, high, low, 4, 0, 0, 0, 0, 0, ..] if u16::from_be_bytes([high, low]) % 6 == 0 => {
                Err(Error::Http2)
            }
            [_, _, _, _, _, _, _, _, _, ..] => Err(Error::Head("the first line is not one")),
            _ => Ok(None),
        }
    }

    /// Whether a parse is worth its time: a head that comes byte by byte must not be read as often
    /// as it has bytes.
    fn may_end_a_head(&self) -> bool {
        self.searched == 0 || self.inbox[self.searched..].contains(&b'\n')
    }

    /// Reads once into the inbox, behind what is there. Zero is the end of the stream.
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

    /// Reads into a buffer that is given out as it is, which saves the copy where a copy would cost
    /// most.
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

    /// Reads once into what is missing of a chunk, past the inbox, which is empty. Zero is the end
    /// of the stream.
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

    /// What was read and is not given out, to take from it.
    pub fn inbox(&mut self) -> &mut Bytes {
        &mut self.inbox
    }
}

/// Appends to `inbox`. It is seldom that anything is there, and then it is a piece of a head or of
/// a chunk's line.
fn put_behind(inbox: &mut Bytes, more: &[u8]) {
    if inbox.is_empty() {
        *inbox = Bytes::copy_from_slice(more);
        return;
    }
    let mut whole = take(inbox).try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    whole.extend_from_slice(more);
    *inbox = whole.freeze();
}
