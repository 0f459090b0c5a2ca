//! An HTTP/2 client that sends frames exactly as a test writes them, including those that h2 would
//! not send.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The client's connection preface.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// One connection.
pub struct RawHttp2 {
    stream: TcpStream,
}

/// A frame from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl RawHttp2 {
    /// Connects and sends the preface with empty SETTINGS.
    pub async fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        let mut client = Self { stream };
        client.send_bytes(PREFACE).await;
        client.send(SETTINGS, 0, 0, &[]).await;
        client
    }

    /// Sends bytes. Write errors are ignored; the frames that come back show what has arrived.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Sends a frame.
    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.send_bytes(&frame(kind, flags, stream, payload)).await;
    }

    /// Returns the next frame; `None` if the server has closed the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let [high, middle, low, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    /// Reads a stream's DATA to its end. The error is the GOAWAY or RST_STREAM that cut it off, if
    /// there was one.
    pub async fn answer(&mut self, stream: u32) -> Result<Vec<u8>, Option<Frame>> {
        let mut body = Vec::new();
        loop {
            let frame = self.next().await.ok_or(None)?;
            if frame.kind == GOAWAY || (frame.kind == RST_STREAM && frame.stream == stream) {
                return Err(Some(frame));
            }
            if frame.stream != stream {
                continue;
            }
            if frame.kind == DATA {
                body.extend_from_slice(&frame.payload);
            }
            if matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0 {
                return Ok(body);
            }
        }
    }

    /// Makes a gRPC call whose authority is given as bytes of the header block.
    pub async fn call(
        &mut self,
        stream: u32,
        path: &str,
        authority: &[u8],
        message: &[u8],
    ) -> Result<Vec<u8>, Option<Frame>> {
        self.send(HEADERS, END_HEADERS, stream, &grpc_head(path, authority)).await;
        let length = u32::try_from(message.len()).expect("a short message").to_be_bytes();
        let framed = [&[0][..], &length, message].concat();
        self.send(DATA, END_STREAM, stream, &framed).await;
        self.answer(stream).await
    }
}

/// Encodes a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Encodes a string of a header block without Huffman coding.
pub fn text(string: &[u8]) -> Vec<u8> {
    let length = u8::try_from(string.len()).ok().filter(|length| *length < 127);
    [&[length.expect("a short string")], string].concat()
}

/// Encodes the header block of a gRPC call.
pub fn grpc_head(path: &str, authority: &[u8]) -> Vec<u8> {
    let path = text(path.as_bytes());
    // POST, http, the path, the authority, content-type and te.
    let mut block = [&[0x83, 0x86, 0x04], &path[..], authority, &[0x0f, 0x10]].concat();
    block.extend(text(b"application/grpc"));
    block.extend([vec![0], text(b"te"), text(b"trailers")].concat());
    block
}
