//! The names of etcd's settings that only a member of the cluster needs (etcd 3.4 to 3.7).
//!
//! They are known so that a variable from a shared environment file, or a flag, is reported as one
//! for members and not as an unknown name.

const NAMES: &[&str] = &[
    "auth-token",
    "auth-token-ttl",
    "auto-compaction-mode",
    "auto-compaction-retention",
    "backend-batch-interval",
    "backend-batch-limit",
    "backend-bbolt-freelist-type",
    "bcrypt-cost",
    "bootstrap-defrag-threshold-megabytes",
    "compact-hash-check-enabled",
    "compact-hash-check-time",
    "compaction-batch-limit",
    "compaction-sleep-interval",
    "corrupt-check-time",
    "distributed-tracing-address",
    "distributed-tracing-instance-id",
    "distributed-tracing-sampling-rate",
    "distributed-tracing-service-name",
    "downgrade-check-time",
    "election-timeout",
    "enable-distributed-tracing",
    "enable-grpc-gateway",
    "enable-v2",
    "feature-gates",
    "force-new-cluster",
    "heartbeat-interval",
    "initial-cluster-state",
    "initial-cluster-token",
    "initial-corrupt-check",
    "initial-election-tick-advance",
    "listen-peer-urls",
    "max-learners",
    "max-snapshots",
    "max-txn-ops",
    "max-wals",
    "memory-mlock",
    "peer-skip-client-san-verification",
    "pre-vote",
    "quota-backend-bytes",
    "raft-read-timeout",
    "raft-write-timeout",
    "snapshot-catchup-entries",
    "snapshot-count",
    "socket-reuse-address",
    "socket-reuse-port",
    "strict-reconfig-check",
    "unsafe-no-fsync",
    "v2-deprecation",
    "wal-dir",
    "warning-apply-duration",
    "warning-unary-request-duration",
    "watch-progress-notify-interval",
];

/// Whether only a member of the cluster needs the setting. All of etcd's `experimental-` settings
/// count unless the table of settings has them, which is searched first.
pub(super) fn is_member_only(name: &str) -> bool {
    name.starts_with("experimental-") || NAMES.binary_search(&name).is_ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_sorted_for_the_search() {
        assert!(super::NAMES.is_sorted());
    }
}
