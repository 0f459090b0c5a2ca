//! Holds a chunk until it is whole, so that it reaches the client as one chunk.
//!
//! HTTP gives chunk boundaries no meaning, but etcd's JSON gateway sends each message of a stream
//! as one chunk, and clients (etcd3gw among them) parse chunk by chunk. A chunk that one read
//! brings whole is passed on as it is and never comes here. Held bytes are counted until the
//! client's connection has written them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use bytes::buf::Limit;
use bytes::{BufMut, Bytes, BytesMut};

/// Largest chunk that is held, in bytes. etcd's largest request has 1.5 MiB
/// (`--max-request-bytes`), which is 2 MiB in base64; the other 16 KiB are for the JSON around it.
pub const MAX_CHUNK: usize = (2 << 20) + (16 << 10);
/// Most bytes held for one client connection, over all its streams.
const MAX_PER_CLIENT: usize = 16 << 20;
/// Most bytes held for all clients. Chunks beyond that are passed on in parts: many slow readers
/// together must not use unbounded memory.
const MAX_IN_ALL: usize = 256 << 20;

/// Bytes held for all clients of the process.
static IN_ALL: AtomicUsize = AtomicUsize::new(0);

/// Whether no new chunk is held, because memory is short.
static STOPPED: AtomicBool = AtomicBool::new(false);

/// Counts the bytes of chunks that are held for one client connection.
#[derive(Debug, Clone, Default)]
pub struct ChunkBudget(Arc<AtomicUsize>);

/// A chunk that is not yet complete.
#[derive(Debug)]
pub struct PartialChunk {
    bytes: BytesMut,
    reserved: Reserved,
}

/// Bytes that are counted until this is dropped.
#[derive(Debug)]
struct Reserved {
    budget: ChunkBudget,
    size: usize,
}

/// A whole chunk, counted until its last reader drops it.
struct Whole {
    bytes: BytesMut,
    _reserved: Reserved,
}

impl ChunkBudget {
    /// Sets whether chunks are passed on in parts from now on, because memory is short.
    pub fn stop(stop: bool) {
        STOPPED.store(stop, Relaxed);
    }

    /// Reserves `size` bytes; `None` if that would be too many, or memory is short.
    fn reserve(&self, size: usize) -> Option<Reserved> {
        if STOPPED.load(Relaxed) {
            return None;
        }
        let reserved = Reserved { budget: self.clone(), size };
        let of_client = self.0.fetch_add(size, Relaxed) + size;
        let in_all = IN_ALL.fetch_add(size, Relaxed) + size;
        (of_client <= MAX_PER_CLIENT && in_all <= MAX_IN_ALL).then_some(reserved)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.size, Relaxed);
        IN_ALL.fetch_sub(self.size, Relaxed);
    }
}

impl PartialChunk {
    /// Begins to hold a chunk of `size` bytes; `None` if it is too large, too much is held already,
    /// or memory is short.
    pub fn begin(size: u64, budget: &ChunkBudget) -> Option<Self> {
        let size = usize::try_from(size).ok().filter(|size| *size <= MAX_CHUNK)?;
        let reserved = budget.reserve(size)?;
        Some(Self { bytes: BytesMut::with_capacity(size), reserved })
    }

    /// Appends `data`, the next part of the chunk.
    pub fn push(&mut self, data: &[u8]) {
        self.missing().put_slice(data);
    }

    /// Returns the buffer for the rest of the chunk, with room for no more than that.
    pub fn missing(&mut self) -> Limit<&mut BytesMut> {
        let missing = self.reserved.size - self.bytes.len();
        (&mut self.bytes).limit(missing)
    }

    /// Returns whether the chunk is complete.
    pub fn is_whole(&self) -> bool {
        self.bytes.len() == self.reserved.size
    }

    /// Returns the complete chunk, which stays counted until its last reference is dropped.
    pub fn finish(self) -> Bytes {
        Bytes::from_owner(Whole { bytes: self.bytes, _reserved: self.reserved })
    }
}

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_for_one_client_is_bounded_and_counted_until_it_was_written() {
        let budget = ChunkBudget::default();
        let most = MAX_PER_CLIENT / MAX_CHUNK;
        let begin = || PartialChunk::begin(MAX_CHUNK as u64, &budget);
        let mut held: Vec<_> = (0..most).map(|_| begin().expect("within the bound")).collect();
        assert!(begin().is_none(), "beyond the bound");
        let mut last = held.pop().unwrap();
        last.push(&vec![7; MAX_CHUNK]);
        assert!(last.is_whole());
        let (bytes, other) = (last.finish(), PartialChunk::begin(1, &ChunkBudget::default()));
        assert!(other.is_some(), "another client has its own");
        let rest = bytes.slice(1..);
        drop(bytes);
        assert!(begin().is_none(), "a part of it is not written yet");
        drop(rest);
        assert!(begin().is_some());
        drop(held);
        assert_eq!(budget.0.load(Relaxed), 0);
    }

    #[test]
    fn a_chunk_beyond_all_measure_is_not_held() {
        let budget = ChunkBudget::default();
        assert!(PartialChunk::begin(MAX_CHUNK as u64 + 1, &budget).is_none());
        assert!(PartialChunk::begin(u64::MAX, &budget).is_none());
        assert_eq!(budget.0.load(Relaxed), 0);
    }
}
