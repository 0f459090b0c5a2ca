//! CPU profiles of the running daemon, in pprof's format.
//!
//! While a profile is taken, a timer that counts the process's CPU time interrupts whichever thread
//! is running, and the signal handler records that thread's stack. The handler can interrupt any
//! code, so nothing in it may take a lock or allocate. That rules out pprof's default unwinder,
//! which crashes or hangs now and then. Walking frame pointers would be safe, but pprof's walk
//! leaves out the function that is running (and below a C library function its caller, too), and it
//! would cost every build a register. So the stack is walked with framehop: by the unwind tables,
//! without allocating, and asking the kernel whether an address can be read before reading it. Two
//! traps remain, and are closed here:
//!
//! - pprof reads the unwind tables in the first handler that runs, and that allocates. So that
//!   first one is run on purpose, on a thread that holds nothing.
//! - The handler asks libgcc which function an address is in, and libgcc takes the dynamic loader's
//!   lock to find out unless glibc is 2.35 or newer. With an older glibc, profiles are refused.
//!
//! Putting names to the addresses takes a while and happens on a thread of its own. The names come
//! from the binary's symbols: a stripped one has none. `go tool pprof` should be given the profile
//! alone, without the binary.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, raise};
use pprof::protos::Message;
use pprof::{ProfilerGuard, ProfilerGuardBuilder};

/// Default length of a profile, as in Go.
pub const DEFAULT_SECONDS: u64 = 30;

/// Maximum length of a profile.
pub const MAX_SECONDS: u64 = 300;

/// Default number of samples per second of CPU time, as in Go.
pub const DEFAULT_HZ: u32 = 100;

/// Maximum number of samples per second: the kernel's timer has a resolution of 4 ms on most
/// systems, and samples that it cannot deliver would make the profile's times too short.
pub const MAX_HZ: u32 = 250;

/// The first glibc version whose lookup of a function by address takes no lock.
const GLIBC: (u32, u32) = (2, 35);

/// Why a profile could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Another profile is being taken.
    #[error("a profile is already running")]
    Running,
    /// The requested length is zero or too long.
    #[error("a profile takes 1 to {MAX_SECONDS} seconds")]
    Seconds,
    /// The requested rate is zero or too high.
    #[error("a profile takes 1 to {MAX_HZ} samples a second")]
    Rate,
    /// Sampling is not safe with this system's C library.
    #[error("cpu profiles need glibc 2.35 or newer; use `perf record` on this system")]
    Libc,
    /// The profiler could not start, or its samples could not be turned into a profile.
    #[error("cannot take a profile: {0}")]
    Failed(#[from] pprof::Error),
    /// The thread that builds the profile ended early.
    #[error("cannot take a profile: it was given up")]
    GivenUp,
}

/// Takes a CPU profile of the whole process for `seconds` (1 to 300) at `hz` samples a second (1 to
/// 250), and returns it as pprof's protocol buffer, not compressed.
///
/// Only one can be taken at a time. Dropping the future ends it: at once or, while the profiler is
/// being started or the profile built, as soon as that is done.
pub async fn cpu_profile(seconds: u64, hz: u32) -> Result<Vec<u8>, ProfileError> {
    if !(1..=MAX_SECONDS).contains(&seconds) {
        return Err(ProfileError::Seconds);
    }
    let hz = i32::try_from(hz).ok().filter(|_| (1..=MAX_HZ).contains(&hz));
    let hz = hz.ok_or(ProfileError::Rate)?;
    profile_for(Duration::from_secs(seconds), hz).await
}

async fn profile_for(time: Duration, hz: i32) -> Result<Vec<u8>, ProfileError> {
    if !libc_is_safe() {
        return Err(ProfileError::Libc);
    }
    let turn = Turn::take().ok_or(ProfileError::Running)?;
    let (sampling, turn) = apart(move || Ok((start(hz)?, turn))).await?;
    tokio::time::sleep(time).await;
    let (profile, _) = apart(move || Ok((encode(sampling)?, turn))).await?;
    Ok(profile)
}

/// Runs blocking work on a thread of its own.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ProfileError> + Send + 'static,
) -> Result<T, ProfileError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ProfileError::GivenUp)?
}

/// Starts sampling. The first call of the process makes pprof read the unwind tables, which takes
/// some milliseconds.
fn start(hz: i32) -> Result<ProfilerGuard<'static>, ProfileError> {
    static TABLES_READ: AtomicBool = AtomicBool::new(false);
    // Only one thread is here at a time: the one with the turn.
    if !TABLES_READ.load(Ordering::Acquire) {
        read_tables()?;
        TABLES_READ.store(true, Ordering::Release);
    }
    Ok(ProfilerGuardBuilder::default().frequency(hz).build()?)
}

/// Runs the first handler on this thread. The timer has to be on for that, at a rate so slow that
/// it does not interrupt another thread first: its first tick comes after a whole second of CPU
/// time.
fn read_tables() -> Result<(), ProfileError> {
    let _sampling = ProfilerGuardBuilder::default().frequency(1).build()?;
    raise(Signal::SIGPROF).map_err(|error| pprof::Error::from(std::io::Error::from(error)))?;
    Ok(())
}

fn encode(sampling: ProfilerGuard<'_>) -> Result<Vec<u8>, ProfileError> {
    Ok(sampling.report().build()?.pprof()?.encode_to_vec())
}

/// Returns the seconds that a query such as `seconds=5` asks for, or the default if it names none.
pub fn seconds_asked(query: Option<&str>) -> Result<u64, ProfileError> {
    let mut pairs = query.unwrap_or_default().split('&');
    match pairs.find_map(|pair| pair.strip_prefix("seconds=")) {
        None => Ok(DEFAULT_SECONDS),
        Some(text) => text.parse().map_err(|_| ProfileError::Seconds),
    }
}

/// The right to take a profile. Only one exists at a time.
struct Turn;

static TAKEN: AtomicBool = AtomicBool::new(false);

impl Turn {
    fn take() -> Option<Self> {
        (!TAKEN.swap(true, Ordering::AcqRel)).then_some(Self)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        TAKEN.store(false, Ordering::Release);
    }
}

fn libc_is_safe() -> bool {
    glibc_version().as_deref().and_then(parse_version).is_some_and(|version| version >= GLIBC)
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Returns the version of the running glibc, such as `2.36`; `None` with another C library.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "glibc tells its version through a C function only")]
fn glibc_version() -> Option<String> {
    unsafe extern "C" {
        safe fn gnu_get_libc_version() -> *const std::ffi::c_char;
    }
    let version = gnu_get_libc_version();
    if version.is_null() {
        return None;
    }
    // SAFETY: glibc returns a pointer to a constant string that ends in a zero byte.
    let version = unsafe { std::ffi::CStr::from_ptr(version) };
    version.to_str().ok().map(str::to_owned)
}

/// Returns `None`: this is not glibc.
#[cfg(not(target_env = "gnu"))]
fn glibc_version() -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;

    #[inline(never)]
    fn spend_time_here(stop: &AtomicBool) -> u64 {
        let mut number = 1;
        while !stop.load(Ordering::Relaxed) {
            number = black_box(u64::wrapping_mul(number, 31));
        }
        number
    }

    /// A profile covers the whole process, so everything that takes one is in this one test.
    #[tokio::test]
    async fn a_profile_names_what_runs_and_there_is_one_at_a_time() {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let busy = std::thread::spawn(move || spend_time_here(&stopped));

        let time = Duration::from_millis(300);
        let (first, second) = tokio::join!(profile_for(time, 250), profile_for(time, 250));
        assert!(matches!(second, Err(ProfileError::Running)), "{second:?}");

        let profile = pprof::protos::Profile::decode(first.unwrap().as_slice()).unwrap();
        let named = profile.string_table.iter().any(|name| name.contains("spend_time_here"));
        assert!(named, "{:?}", profile.string_table);

        let given_up =
            tokio::time::timeout(Duration::from_millis(10), profile_for(time, 250)).await;
        assert!(given_up.is_err());
        // A profile that was given up while it was being started ends as soon as it has started.
        let deadline = Instant::now() + Duration::from_secs(60);
        while let Err(error) = profile_for(time, 250).await {
            assert!(matches!(error, ProfileError::Running) && Instant::now() < deadline, "{error}");
            tokio::task::yield_now().await;
        }
        stop.store(true, Ordering::Relaxed);
        busy.join().unwrap();
    }

    #[tokio::test]
    async fn times_and_rates_out_of_range_are_refused() {
        for seconds in [0, MAX_SECONDS + 1, u64::MAX] {
            assert!(matches!(cpu_profile(seconds, 100).await, Err(ProfileError::Seconds)));
        }
        for hz in [0, MAX_HZ + 1, u32::MAX] {
            assert!(matches!(cpu_profile(1, hz).await, Err(ProfileError::Rate)));
        }
    }

    #[test]
    fn a_query_says_how_long() {
        assert_eq!(seconds_asked(None).unwrap(), DEFAULT_SECONDS);
        assert_eq!(seconds_asked(Some("debug=1")).unwrap(), DEFAULT_SECONDS);
        assert_eq!(seconds_asked(Some("debug=1&seconds=5")).unwrap(), 5);
        assert!(seconds_asked(Some("seconds=-1")).is_err());
        assert!(seconds_asked(Some("seconds=")).is_err());
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(parse_version("2.36"), Some((2, 36)));
        assert_eq!(parse_version("2.4.1"), Some((2, 4)));
        assert!(parse_version("2.4") < Some(GLIBC));
        assert_eq!(parse_version("musl"), None);
    }
}
