//! The usage of one memory limit, and the threshold above which memory is short.

/// One limit and its usage, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// The name of the systemd setting for the limit.
    pub limited_by: &'static str,
    /// The limit.
    pub limit: u64,
    /// The bytes in use.
    pub used: u64,
    /// The usage above which memory is short: 85 % of the limit, or halfway between `base` and the
    /// limit if that is more.
    pub most: u64,
    /// The part of `most` that is left for clients: `most` less `base`.
    pub room: u64,
}

impl Usage {
    /// Creates a usage. `base` is what the process itself needs, without clients.
    pub(super) fn new(limited_by: &'static str, limit: u64, used: u64, base: u64) -> Self {
        let most = (limit / 100 * 85).max(base + limit.saturating_sub(base) / 2);
        Self { limited_by, limit, used, most, room: most.saturating_sub(base) }
    }

    /// Returns the bytes that may still be used before memory is short.
    pub fn left(&self) -> u64 {
        self.most.saturating_sub(self.used)
    }

    /// Tells whether half of the room is used, so that a closer and more expensive measurement
    /// pays.
    pub(super) fn is_near(&self) -> bool {
        self.left() <= self.room / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_must_be_done_at_85_percent_or_halfway_above_what_is_needed_anyway() {
        let usage = |limit, used, base| Usage::new("LimitAS=", limit, used, base);
        assert_eq!(usage(1000, 100, 100).left(), 750);
        assert_eq!(usage(1000, 900, 100).left(), 0);
        assert_eq!(usage(1000, 900, 900).left(), 50);
        assert_eq!(usage(1000, 1200, 1200).left(), 0);
    }
}
