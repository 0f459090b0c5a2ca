//! The pages a member serves to GET and HEAD: v2, health, version and the like.
//!
//! None of these changes anything by GET, whatever its query. v2 keys may hold any byte, so below
//! `/v2/` percent signs, semicolons and doubled slashes are let through; a path that could leave
//! `/v2/` once decoded and cleaned is not. Debugging pages other than `/debug/vars` are refused:
//! they cost the member too much to be open to strangers.

/// Returns whether GET on a raw path is a read that readonly lets through.
pub(super) fn is_read(path: &str) -> bool {
    if let Some(below) = path.strip_prefix("/v2/") {
        return stays_below(below.as_bytes());
    }
    match path {
        "/version" | "/health" | "/livez" | "/readyz" | "/metrics" | "/debug/vars" => true,
        _ => path
            .strip_prefix("/livez/")
            .or_else(|| path.strip_prefix("/readyz/"))
            .is_some_and(is_check_name),
    }
}

fn is_check_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// Returns whether a path, decoded once, has no `.` or `..` segment. A broken percent-encoding
/// counts as having one.
fn stays_below(path: &[u8]) -> bool {
    let mut segment = Segment::default();
    let mut rest = path;
    while let Some((byte, later)) = decode(rest) {
        if !segment.take(byte) {
            return false;
        }
        rest = later;
    }
    rest.is_empty() && segment.take(b'/')
}

/// Returns the next decoded byte of a path and the rest; `None` at the end and at a broken
/// encoding.
fn decode(path: &[u8]) -> Option<(u8, &[u8])> {
    match *path {
        [b'%', high, low, ref later @ ..] => Some((hex(high)? << 4 | hex(low)?, later)),
        [b'%', ..] | [] => None,
        [byte, ref later @ ..] => Some((byte, later)),
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// The path segment being read: how many dots, and whether anything else.
#[derive(Default)]
struct Segment {
    dots: u32,
    other: bool,
}

impl Segment {
    /// Takes one decoded byte; returns `false` when it ends a segment that is `.` or `..`.
    fn take(&mut self, byte: u8) -> bool {
        match byte {
            b'/' => {
                let ended = std::mem::take(self);
                return ended.other || !(1..=2).contains(&ended.dots);
            }
            b'.' => self.dots = self.dots.saturating_add(1),
            _ => self.other = true,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_of_a_member_are_reads() {
        for path in [
            "/version",
            "/health",
            "/livez",
            "/livez/serializable_read",
            "/readyz",
            "/readyz/data_corruption",
            "/readyz/non_learner",
            "/metrics",
            "/debug/vars",
            "/v2/keys",
            "/v2/keys/",
            "/v2/keys/a/b.c/..d/...",
            "/v2/keys/%E4%BD%A0;a//b%20c",
            "/v2/machines",
            "/v2/members",
            "/v2/members/leader",
            "/v2/stats/self",
            "/v2/stats/leader",
            "/v2/stats/store",
            "/v2/auth/users/root",
            "/v2/auth/roles",
            "/v2/auth/enable",
        ] {
            assert!(is_read(path), "{path}");
        }
    }

    #[test]
    fn every_other_page_is_refused() {
        for path in [
            "",
            "/",
            "*",
            "/v2",
            "/v3/kv/range",
            "/debug/pprof/",
            "/debug/pprof/profile",
            "/debug/requests",
            "/debug/vars/",
            "/config/local/log",
            "/version/",
            "/Version",
            "//version",
            "/versio%6e",
            "/version;a",
            "/readyz/",
            "/readyz/a/b",
            "/readyz/..",
            "/readyz/%2e%2e",
            "/livezz",
            "/members",
            "/raft",
            "/etcdserverpb.KV/Range",
        ] {
            assert!(!is_read(path), "{path}");
        }
    }

    #[test]
    fn a_path_that_could_leave_v2_is_refused() {
        for path in [
            "/v2/..",
            "/v2/.",
            "/v2/./keys",
            "/v2/../v3/kv/put",
            "/v2/keys/../../v3/kv/put",
            "/v2/%2e%2e/v3/kv/put",
            "/v2/.%2E/v3/kv/put",
            "/v2/..%2fv3/kv/put",
            "/v2/keys%2F..%2F..%2Fdebug/pprof/heap",
            "/v2/keys/%2e",
            "/v2/keys/%",
            "/v2/keys/%2",
            "/v2/keys/%zz",
            "/v2/keys/%+2",
        ] {
            assert!(!is_read(path), "{path}");
        }
        assert!(is_read("/v2/keys/%252e%252e/a"), "decoded once, this is a key named %2e%2e");
    }
}
