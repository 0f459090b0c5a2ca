//! Controls of glibc's allocator: returning free memory to the kernel, and keeping to one heap
//! where the address space is limited.
//!
//! glibc keeps freed memory for later allocations: after 6,000 clients have left, some 70 MB of
//! free pages lie between the few that are in use. Other allocators take more for an idle watcher
//! (ARCHITECTURE.md).

/// Returns pages without live allocations to the kernel. A thread that allocates meanwhile may
/// wait, some milliseconds for each 100 MB; most allocations are served from a thread's own cache
/// and do not wait.
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

/// Returns the number of freed bytes that the allocator keeps. Walks over all free chunks.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "nothing safe in our dependencies calls mallinfo(3)")]
pub fn free() -> u64 {
    // SAFETY: it takes nothing and returns numbers (mallinfo(3); each heap is locked meanwhile).
    let counts = unsafe { nix::libc::mallinfo() };
    // mallinfo2 counts beyond 4 GiB but needs glibc 2.33. Here the count wraps at 4 GiB and so
    // comes out too low, which is safe.
    u64::from(counts.fordblks.cast_unsigned())
}

/// Returns 0: this is not glibc.
#[cfg(not(target_env = "gnu"))]
pub fn free() -> u64 {
    0
}

/// Makes all threads share one heap. Each further heap reserves 64 MiB of address space, and its
/// free memory serves only its own threads, so that under `RLIMIT_AS` memory would run out long
/// before the limit is in use. Must be called before there is a second thread.
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
