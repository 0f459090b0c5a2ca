//! Reads the head of a response (RFC 9112 section 4).

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use http::{Response, StatusCode};
use httparse::{Header, ParserConfig, Status};
use hyper::ext::ReasonPhrase;

use super::error::{Error, reason};
use super::framing::{BodyHeaders, ResponseFraming};
use crate::message::headers::{is_hop_by_hop, names_in};

/// Most headers of a response; etcd sends a dozen.
const MAX_HEADERS: usize = 128;

/// A complete head.
#[derive(Debug)]
pub enum Parsed {
    /// The head of an informational response before the answer, such as "100 Continue".
    Interim,
    /// The head of the answer.
    Final {
        /// Status and headers, without hop-by-hop headers.
        head: Response<()>,
        /// How the body is framed.
        framing: ResponseFraming,
        /// Whether the connection stays open after the body.
        keeps: bool,
    },
}

/// Reads the head at the start of `inbox`. Returns its length and its content; `None` while it is
/// not complete.
///
/// # Errors
/// When it is not a head of HTTP/1, or frames its body in a way that cannot be trusted.
pub fn parse(inbox: &Bytes, to_head: bool) -> Result<Option<(usize, Parsed)>, Error> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut read = httparse::Response::new(&mut []);
    let parsed = ParserConfig::default()
        .parse_response_with_uninit_headers(&mut read, inbox, &mut fields)
        .map_err(|error| Error::Head(reason(error)))?;
    let Status::Complete(length) = parsed else { return Ok(None) };
    let status = read
        .code
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or(Error::Head("invalid status code"))?;
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Error::Head("it switches protocols unasked"));
    }
    if status.is_informational() {
        return Ok(Some((length, Parsed::Interim)));
    }
    let mut head = Response::new(());
    *head.status_mut() = status;
    keep_reason(&mut head, read.reason.unwrap_or_default());
    let fields = take_fields(inbox, read.headers, head.headers_mut())?;
    let framing = fields.body.decide(status, to_head);
    let keeps = match read.version {
        Some(0) => fields.keep_alive,
        _ => !fields.close,
    };
    let keeps = keeps && !matches!(framing, ResponseFraming::UntilClose);
    Ok(Some((length, Parsed::Final { head, framing, keeps })))
}

/// What the headers say about the connection and the body.
#[derive(Default)]
struct Fields {
    body: BodyHeaders,
    close: bool,
    keep_alive: bool,
}

/// Puts the end-to-end headers into `headers`. Their values share the memory of `inbox`.
fn take_fields(
    inbox: &Bytes,
    read: &[Header<'_>],
    headers: &mut HeaderMap,
) -> Result<Fields, Error> {
    let mut fields = Fields::default();
    let mut named = Vec::new();
    headers.reserve(read.len());
    for field in read {
        let name = HeaderName::from_bytes(field.name.as_bytes())
            .map_err(|_| Error::Head("invalid header name"))?;
        if name == CONTENT_LENGTH {
            fields.body.length(field.value)?;
        } else if is_hop_by_hop(&name) {
            if name == TRANSFER_ENCODING {
                fields.body.transfer_encoding(field.value)?;
            } else if name == CONNECTION {
                fields.close |= has_word(field.value, "close");
                fields.keep_alive |= has_word(field.value, "keep-alive");
                named.extend(names_in(field.value));
            }
            continue;
        }
        let value = HeaderValue::from_maybe_shared(inbox.slice_ref(field.value))
            .map_err(|_| Error::Head("invalid header value"))?;
        headers.append(name, value);
    }
    named.iter().for_each(|name| drop(headers.remove(name)));
    if fields.body.is_chunked() {
        // With chunks a Content-Length is ignored, and it must not reach the client, which might
        // use it.
        headers.remove(CONTENT_LENGTH);
    }
    Ok(fields)
}

/// Keeps a reason phrase that differs from the canonical one; hyper writes the canonical one by
/// itself.
fn keep_reason(head: &mut Response<()>, reason: &str) {
    if head.status().canonical_reason() != Some(reason)
        && let Ok(reason) = ReasonPhrase::try_from(reason.as_bytes())
    {
        head.extensions_mut().insert(reason);
    }
}

fn has_word(list: &[u8], word: &str) -> bool {
    list.split(|&byte| byte == b',')
        .any(|part| part.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}
