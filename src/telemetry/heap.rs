//! glibc's allocator: gives memory back, and is told to keep to one heap where the address space is
//! limited.
//!
//! glibc keeps what was freed for the next one who asks: after 6,000 clients have left, some 70 MB
//! of pages lie between the few that are in use. Other allocators take more for an idle watcher
//! (ARCHITECTURE.md).

/// Gives pages back to the kernel of which nothing is in use. A thread that allocates meanwhile may
/// wait, some milliseconds for each 100 MB; most allocations are served from a thread's own cache
/// and do not.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "nothing safe in our dependencies calls malloc_trim(3)")]
pub fn trim() {
    // SAFETY: it takes a number and may be called by any thread at any time (malloc_trim(3),
    // "MT-Safe").
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

/// Does nothing: this is not glibc.
#[cfg(not(target_env = "gnu"))]
pub fn trim() {}

/// Bytes that were freed and are kept for the next one who asks. It takes a walk over all of them.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "nothing safe in our dependencies calls mallinfo(3)")]
pub fn free() -> u64 {
    // SAFETY: it takes nothing and returns numbers (mallinfo(3); each heap is locked meanwhile).
    let counts = unsafe { nix::libc::mallinfo() };
    // mallinfo2 counts beyond 4 GiB, and needs glibc 2.33. Here more than that is told as less,
    // which is safe.
    u64::from(counts.fordblks.cast_unsigned())
}

/// Returns nothing: this is not glibc.
#[cfg(not(target_env = "gnu"))]
pub fn free() -> u64 {
    0
}

/// Has all threads share one heap. Each further one reserves 64 MiB of address space and what is
/// free in it serves only its own threads, so that under `RLIMIT_AS` memory ends long before the
/// limit is used. To be called before there is a second thread.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "nothing safe in our dependencies calls mallopt(3)")]
pub fn keep_to_one() {
    // SAFETY: it takes two numbers, and this is called before there is a second thread (mallopt(3),
    // "MT-Unsafe init").
    unsafe {
        nix::libc::mallopt(nix::libc::M_ARENA_MAX, 1);
    }
}

/// Does nothing: this is not glibc.
#[cfg(not(target_env = "gnu"))]
pub fn keep_to_one() {}
