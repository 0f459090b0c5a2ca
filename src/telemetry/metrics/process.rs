//! The `process_*` families that every dashboard expects.
//!
//! Only the process's own files below `/proc/self` are read, so that it works under systemd's
//! `ProcSubset=pid`. The start time is our own clock's, because the kernel counts it in ticks since
//! boot, and that setting hides the boot time. Values that cannot be read are left out.

use std::fs;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeVal;
use nix::unistd::{SysconfVar, sysconf};

use super::family::Family;

/// Returns the families of this process. `started_ms` is when it started, in milliseconds since the
/// Unix epoch.
pub fn families(started_ms: u64) -> Vec<Family> {
    let start = Family::gauge(
        "process_start_time_seconds",
        "When the process started.",
        started_ms as f64 / 1000.0,
    );
    let parts = [cpu(), open_fds(), max_fds()].into_iter().flatten();
    parts.chain(memory().into_iter().flatten()).chain([start]).collect()
}

fn cpu() -> Option<Family> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let total = seconds(usage.user_time()) + seconds(usage.system_time());
    Some(Family::counter("process_cpu_seconds", "CPU time spent, user and system.", total))
}

fn open_fds() -> Option<Family> {
    // Since Linux 6.2 the directory's size is the number of descriptors; before, it is 0 and the
    // entries have to be counted.
    let count = match fs::metadata("/proc/self/fd").ok()?.len() {
        0 => fs::read_dir("/proc/self/fd").ok()?.count() as u64,
        count => count,
    };
    Some(Family::gauge("process_open_fds", "Open file descriptors.", count))
}

fn max_fds() -> Option<Family> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    Some(Family::gauge("process_max_fds", "File descriptors that may be open.", soft))
}

fn memory() -> Option<[Family; 2]> {
    let (virtual_bytes, resident_bytes) = parse_statm(
        &fs::read_to_string("/proc/self/statm").ok()?,
        u64::try_from(sysconf(SysconfVar::PAGE_SIZE).ok()??).ok()?,
    )?;
    Some([
        Family::gauge("process_resident_memory_bytes", "Resident memory.", resident_bytes),
        Family::gauge("process_virtual_memory_bytes", "Address space in use.", virtual_bytes),
    ])
}

/// Returns the first two numbers of `statm`, the virtual and the resident size, converted from
/// pages to bytes.
fn parse_statm(text: &str, page: u64) -> Option<(u64, u64)> {
    let mut pages = text.split_ascii_whitespace().map_while(|number| number.parse::<u64>().ok());
    Some((pages.next()?.checked_mul(page)?, pages.next()?.checked_mul(page)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_pages_times_their_size() {
        assert_eq!(parse_statm("100 20 5 1 0 9 0\n", 4096), Some((409_600, 81_920)));
        assert_eq!(parse_statm("100", 4096), None);
        assert_eq!(parse_statm("", 4096), None);
    }

    #[test]
    fn a_process_knows_itself() {
        let names: Vec<_> = families(1).into_iter().map(|family| family.name).collect();
        assert_eq!(
            names,
            [
                "process_cpu_seconds",
                "process_open_fds",
                "process_max_fds",
                "process_resident_memory_bytes",
                "process_virtual_memory_bytes",
                "process_start_time_seconds",
            ]
        );
    }
}
