//! Memory limits and usage, by `RLIMIT_AS` and by the cgroup's limits.

mod cgroup;
mod usage;

use std::{fs, io};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::unistd::{SysconfVar, sysconf};

use self::cgroup::Cgroups;
pub use self::usage::Usage;
use super::heap;

/// Reads limits and usage. The `base` is the usage at the first reading that found a limit.
#[derive(Debug)]
pub struct Memory {
    page: u64,
    cgroups: Cgroups,
    base: Option<Base>,
}

/// The usage at the first reading that found a limit.
#[derive(Debug, Clone, Copy)]
struct Base {
    space: AddressSpace,
    reserved: u64,
}

/// The sizes in `/proc/self/statm`, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct AddressSpace {
    size: u64,
    resident: u64,
}

impl Memory {
    /// Finds the cgroups of this process that have memory limits.
    pub fn of_this_process() -> Self {
        let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
        let page = page.and_then(|page| u64::try_from(page).ok()).unwrap_or(4096);
        Self { page, cgroups: Cgroups::of_this_process(), base: None }
    }

    /// Returns the usage of the limit that has the least memory left; `None` if there is no limit.
    ///
    /// # Errors
    /// If usage cannot be read at the moment, for example because no descriptors are left.
    pub fn usage(&mut self) -> io::Result<Option<Usage>> {
        let limit = address_space_limit();
        if limit.is_none() && self.cgroups.is_empty() {
            return Ok(None);
        }
        let statm = fs::read_to_string("/proc/self/statm")?;
        let now = AddressSpace::parse(&statm, self.page).ok_or(io::ErrorKind::InvalidData)?;
        let base = *self
            .base
            .get_or_insert_with(|| Base { space: now, reserved: reserved().unwrap_or(0) });
        let by_address_space = limit.map(|limit| base.usage(limit, &now));
        let by_cgroup = self.cgroups.usage(now.resident, base.space.resident)?;
        Ok(by_address_space.into_iter().chain(by_cgroup).min_by_key(Usage::left))
    }
}

impl Base {
    fn usage(&self, limit: u64, now: &AddressSpace) -> Usage {
        let usage = Usage::new("LimitAS=", limit, now.size, self.space.size);
        if !usage.is_near() {
            return usage;
        }
        // Freed memory serves later allocations, and so does address space that was reserved for
        // heaps since the base was taken.
        let more = reserved().unwrap_or(0).saturating_sub(self.reserved);
        Usage { used: usage.used.saturating_sub(heap::free() + more), ..usage }
    }
}

/// Returns the bytes of address space that are reserved without access (`---p`).
fn reserved() -> Option<u64> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    Some(maps.lines().filter_map(reserved_in).sum())
}

/// Returns the size of a reserved range in a line such as `7f00-7f80 ---p ...` (proc_pid_maps(5));
/// `None` for other lines.
fn reserved_in(line: &str) -> Option<u64> {
    let (range, rest) = line.split_once(' ')?;
    let (from, to) = range.split_once('-').filter(|_| rest.starts_with("---p"))?;
    let address = |text| u64::from_str_radix(text, 16).ok();
    address(to)?.checked_sub(address(from)?)
}

/// Returns the soft `RLIMIT_AS`; `None` if it is unlimited.
pub fn address_space_limit() -> Option<u64> {
    let (soft, _) = getrlimit(Resource::RLIMIT_AS).ok()?;
    (soft != RLIM_INFINITY).then_some(soft)
}

impl AddressSpace {
    /// Parses `size resident ...`, in pages (proc_pid_statm(5)).
    fn parse(statm: &str, page: u64) -> Option<Self> {
        let mut pages =
            statm.split_ascii_whitespace().map_while(|number| number.parse::<u64>().ok());
        let mut bytes = || pages.next()?.checked_mul(page);
        Some(Self { size: bytes()?, resident: bytes()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_pages_times_their_size() {
        let space = AddressSpace { size: 4_096_000, resident: 1_228_800 };
        assert_eq!(AddressSpace::parse("1000 300 100 50 0 500 0\n", 4096), Some(space));
        assert_eq!(AddressSpace::parse("1000", 4096), None);
        assert_eq!(AddressSpace::parse("", 4096), None);
    }

    #[test]
    fn reserved_addresses_are_told_from_others() {
        assert_eq!(reserved_in("7f00-7f80 ---p 00000000 00:00 0"), Some(0x80));
        for other in ["7f00-7f80 rw-p 00000000 00:00 0", "", "x-y ---p", "7f80-7f00 ---p 0"] {
            assert_eq!(reserved_in(other), None, "{other}");
        }
        assert!(reserved().is_some());
    }
}
