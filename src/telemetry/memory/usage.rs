//! How much of one limit on memory is in use, and when something must be done.

/// One limit and what it holds, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Where the limit comes from, by the name of systemd's setting.
    pub limited_by: &'static str,
    /// The limit.
    pub limit: u64,
    /// What is in use.
    pub used: u64,
    /// What may be in use before something must be done: 85 % of the limit; more if the process
    /// needs most of that for itself.
    pub most: u64,
    /// How much of that is for clients.
    pub room: u64,
}

impl Usage {
    /// `base` is what the process itself needs, without clients.
    pub(super) fn new(limited_by: &'static str, limit: u64, used: u64, base: u64) -> Self {
        let most = (limit / 100 * 85).max(base + limit.saturating_sub(base) / 2);
        Self { limited_by, limit, used, most, room: most.saturating_sub(base) }
    }

    /// Bytes that may still be used before something must be done.
    pub fn left(&self) -> u64 {
        self.most.saturating_sub(self.used)
    }

    /// Whether half of the room is used, so that it is worth a closer look what of it counts.
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
