//! Times for people: the local time of day, as in "no answer since 12:01".
//!
//! They are local and not UTC because they stand beside the journal's own local times in `systemctl
//! status`. Machines get milliseconds since the Unix epoch instead, never these.

use nix::libc;

/// Formats milliseconds since the Unix epoch as local `12:01`, or as `2026-11-21 12:01` when that
/// is not the day of `now_ms`.
pub fn time_of_day(at_ms: u64, now_ms: u64) -> String {
    let at = local(at_ms);
    let now = local(now_ms);
    let clock = format!("{:02}:{:02}", at.tm_hour, at.tm_min);
    if (at.tm_year, at.tm_yday) == (now.tm_year, now.tm_yday) {
        return clock;
    }
    let year = i64::from(at.tm_year) + 1900;
    format!("{year}-{:02}-{:02} {clock}", at.tm_mon + 1, at.tm_mday)
}

/// Breaks a time down in the zone of `TZ` or `/etc/localtime`, or in UTC when there is none. A time
/// that `time_t` cannot hold becomes the Unix epoch.
#[expect(unsafe_code, reason = "nothing safe in our dependencies knows the local zone")]
fn local(at_ms: u64) -> libc::tm {
    let seconds = libc::time_t::try_from(at_ms / 1000).unwrap_or(0);
    // SAFETY: `tm` is plain old data for which all zeroes is valid, and both pointers are to live
    // locals. The function reads `TZ`; nobody in this program changes the environment.
    unsafe {
        let mut broken_down: libc::tm = std::mem::zeroed();
        libc::localtime_r(&seconds, &mut broken_down);
        broken_down
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600 * 1000;
    const NOW: u64 = 1_795_000_000_000;

    #[test]
    fn today_needs_no_date() {
        let text = time_of_day(NOW, NOW);
        assert_eq!((text.len(), text.as_bytes()[2]), (5, b':'), "{text}");
    }

    #[test]
    fn another_day_is_named() {
        let text = time_of_day(NOW - DAY, NOW);
        assert!(text.starts_with("2026-11-1") && text.len() == 16, "{text}");
    }

    #[test]
    fn the_same_day_of_another_year_is_named() {
        let text = time_of_day(NOW - 365 * DAY, NOW);
        assert!(text.starts_with("2025-11-1"), "{text}");
    }

    #[test]
    fn absurd_times_do_no_harm() {
        time_of_day(u64::MAX, 0);
    }

    #[test]
    fn it_agrees_with_date() {
        let seconds = format!("@{}", NOW / 1000);
        let Ok(date) = std::process::Command::new("date").args(["-d", &seconds, "+%H:%M"]).output()
        else {
            return;
        };
        assert_eq!(time_of_day(NOW, NOW), String::from_utf8_lossy(&date.stdout).trim());
    }
}
