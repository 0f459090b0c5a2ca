//! Every RPC an etcd member serves, with its name, kind and effect.
//!
//! One table serves three users: metrics (the name), the retry rules (the kind) and readonly (the
//! effect). It covers etcd 3.0 to 3.7. An RPC that is not in the table is [`Rpc::Other`]: it is
//! forwarded, never resent, and always rejected by readonly. Paths match byte for byte, because
//! members decode and clean paths before they route, and we must not guess the result.

/// How an RPC behaves on the wire. Decides what may be retried, and on which connection a call
/// goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RpcKind {
    /// One request, one reply, no lasting effect: may be sent again to another member until the
    /// reply is being forwarded.
    Read,
    /// Changes something, or might: never resent once any of it was sent.
    Write,
    /// A long stream of small messages (Watch, LeaseKeepAlive, Observe, health Watch): never
    /// replayed.
    Stream,
    /// A read whose reply is a long stream of large messages (Snapshot, RangeStream).
    Bulk,
}

impl RpcKind {
    /// Returns whether the call may occupy its stream for minutes or forever. Such a call must not
    /// share a connection with other clients and must have no deadline.
    pub const fn is_long(self) -> bool {
        matches!(self, Self::Stream | Self::Bulk)
    }
}

/// What a call does to the cluster's data, for the readonly checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Changes no stored user data.
    Read,
    /// Changes something, or is unknown.
    Write,
    /// A read only if the Txn consists of nothing but ranges, at every depth.
    Txn,
    /// A read only if the request's action is GET.
    Alarm,
}

/// Generates the enum and its lookups from one table, so that none of them can miss an entry.
macro_rules! rpcs {
    ($($package:literal $service:ident { $($variant:ident = $method:literal, $kind:ident, $effect:ident;)+ })+) => {
        /// One RPC of etcd's client API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Rpc {
            $($(
                #[doc = concat!("`/", $package, ".", stringify!($service), "/", $method, "`")]
                $variant,
            )+)+
            /// Any path that is not in the table.
            Other,
        }

        impl Rpc {
            /// Every RPC in the order of its discriminant, [`Rpc::Other`] last.
            pub const ALL: &'static [Self] = &[$($(Self::$variant,)+)+ Self::Other];

            /// Returns the RPC of a raw gRPC `:path`. Only a byte-for-byte match counts; anything
            /// else is [`Rpc::Other`].
            pub fn from_path(path: &str) -> Self {
                match path {
                    $($(concat!("/", $package, ".", stringify!($service), "/", $method) => Self::$variant,)+)+
                    _ => Self::Other,
                }
            }

            /// Returns `Service/Method` without the package, as in metrics and logs; `other` for
            /// [`Rpc::Other`].
            pub const fn name(self) -> &'static str {
                match self {
                    $($(Self::$variant => concat!(stringify!($service), "/", $method),)+)+
                    Self::Other => "other",
                }
            }

            /// Returns the full gRPC path, or `None` for [`Rpc::Other`].
            pub const fn path(self) -> Option<&'static str> {
                match self {
                    $($(Self::$variant =>
                        Some(concat!("/", $package, ".", stringify!($service), "/", $method)),)+)+
                    Self::Other => None,
                }
            }

            /// Returns how the call behaves on the wire. An unknown call counts as a write.
            pub const fn kind(self) -> RpcKind {
                match self {
                    $($(Self::$variant => RpcKind::$kind,)+)+
                    Self::Other => RpcKind::Write,
                }
            }

            /// Returns what the call does to the cluster's data. An unknown call counts as a write.
            pub const fn effect(self) -> Effect {
                match self {
                    $($(Self::$variant => Effect::$effect,)+)+
                    Self::Other => Effect::Write,
                }
            }
        }
    };
}

// The busiest services come first: `from_path` compares in this order.
rpcs! {
    "etcdserverpb" KV {
        Range = "Range", Read, Read;
        Put = "Put", Write, Write;
        Txn = "Txn", Write, Txn;
        DeleteRange = "DeleteRange", Write, Write;
        Compact = "Compact", Write, Write;
        RangeStream = "RangeStream", Bulk, Read;
    }
    "etcdserverpb" Watch {
        Watch = "Watch", Stream, Read;
    }
    "etcdserverpb" Lease {
        LeaseKeepAlive = "LeaseKeepAlive", Stream, Write;
        LeaseGrant = "LeaseGrant", Write, Write;
        LeaseRevoke = "LeaseRevoke", Write, Write;
        LeaseTimeToLive = "LeaseTimeToLive", Read, Read;
        LeaseLeases = "LeaseLeases", Read, Read;
    }
    "etcdserverpb" Maintenance {
        Status = "Status", Read, Read;
        Alarm = "Alarm", Write, Alarm;
        Hash = "Hash", Read, Read;
        HashKv = "HashKV", Read, Read;
        Snapshot = "Snapshot", Bulk, Read;
        Defragment = "Defragment", Write, Write;
        MoveLeader = "MoveLeader", Write, Write;
        Downgrade = "Downgrade", Write, Write;
    }
    "etcdserverpb" Cluster {
        MemberList = "MemberList", Read, Read;
        MemberAdd = "MemberAdd", Write, Write;
        MemberRemove = "MemberRemove", Write, Write;
        MemberUpdate = "MemberUpdate", Write, Write;
        MemberPromote = "MemberPromote", Write, Write;
    }
    "etcdserverpb" Auth {
        // Creates a token, through raft. It changes no user data, and readers need a token.
        Authenticate = "Authenticate", Read, Read;
        AuthStatus = "AuthStatus", Read, Read;
        UserGet = "UserGet", Read, Read;
        UserList = "UserList", Read, Read;
        RoleGet = "RoleGet", Read, Read;
        RoleList = "RoleList", Read, Read;
        AuthEnable = "AuthEnable", Write, Write;
        AuthDisable = "AuthDisable", Write, Write;
        UserAdd = "UserAdd", Write, Write;
        UserDelete = "UserDelete", Write, Write;
        UserChangePassword = "UserChangePassword", Write, Write;
        UserGrantRole = "UserGrantRole", Write, Write;
        UserRevokeRole = "UserRevokeRole", Write, Write;
        RoleAdd = "RoleAdd", Write, Write;
        RoleDelete = "RoleDelete", Write, Write;
        RoleGrantPermission = "RoleGrantPermission", Write, Write;
        RoleRevokePermission = "RoleRevokePermission", Write, Write;
    }
    "v3lockpb" Lock {
        Lock = "Lock", Write, Write;
        Unlock = "Unlock", Write, Write;
    }
    "v3electionpb" Election {
        Campaign = "Campaign", Write, Write;
        Proclaim = "Proclaim", Write, Write;
        Leader = "Leader", Read, Read;
        Observe = "Observe", Stream, Read;
        Resign = "Resign", Write, Write;
    }
    "grpc.health.v1" Health {
        HealthCheck = "Check", Read, Read;
        HealthWatch = "Watch", Stream, Read;
        HealthList = "List", Read, Read;
    }
}

impl Rpc {
    /// Number of RPCs, [`Rpc::Other`] included: the length of an array indexed by `rpc as usize`.
    pub const COUNT: usize = Self::Other as usize + 1;

    /// Returns whether the member may legitimately hold the reply back forever (Lock and Campaign
    /// wait for their turn), so that a late reply says nothing about its health.
    pub const fn may_wait(self) -> bool {
        matches!(self, Self::Lock | Self::Campaign) || self.kind().is_long()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_every_rpc_at_its_own_index() {
        assert_eq!(Rpc::ALL.len(), Rpc::COUNT);
        for (index, rpc) in Rpc::ALL.iter().enumerate() {
            assert_eq!(*rpc as usize, index);
        }
    }

    #[test]
    fn a_path_leads_to_its_rpc_and_back() {
        for rpc in Rpc::ALL {
            let Some(path) = rpc.path() else { continue };
            assert_eq!(Rpc::from_path(path), *rpc, "{path}");
            assert!(path.ends_with(rpc.name()), "{path}");
        }
        assert_eq!(Rpc::from_path("/grpc.health.v1.Health/Watch"), Rpc::HealthWatch);
        assert_eq!(Rpc::Range.name(), "KV/Range");
    }

    #[test]
    fn a_path_that_differs_in_one_byte_is_another_rpc() {
        for rpc in Rpc::ALL {
            let Some(path) = rpc.path() else { continue };
            for near in [
                format!("{path}/"),
                format!("/{path}"),
                format!("{path}?"),
                format!("{path} "),
                path[1..].to_owned(),
                path.to_lowercase(),
                path.replace('/', "//"),
                path.replace(".K", "%2eK") + "%00",
                path.replacen('/', "/./", 1),
            ] {
                assert_eq!(Rpc::from_path(&near), Rpc::Other, "{near}");
            }
        }
    }

    #[test]
    fn streams_and_bulk_reads_are_long() {
        let long: Vec<_> =
            Rpc::ALL.iter().filter(|rpc| rpc.kind().is_long()).map(|rpc| rpc.name()).collect();
        assert_eq!(
            long,
            [
                "KV/RangeStream",
                "Watch/Watch",
                "Lease/LeaseKeepAlive",
                "Maintenance/Snapshot",
                "Election/Observe",
                "Health/Watch",
            ]
        );
        assert!(Rpc::Lock.may_wait() && Rpc::Campaign.may_wait() && Rpc::Watch.may_wait());
        assert!(!Rpc::Range.may_wait() && !Rpc::Put.may_wait());
    }

    #[test]
    fn whatever_is_retried_as_a_read_changes_nothing() {
        for rpc in Rpc::ALL {
            if matches!(rpc.kind(), RpcKind::Read | RpcKind::Bulk) {
                assert_eq!(rpc.effect(), Effect::Read, "{}", rpc.name());
            }
        }
        assert_eq!((Rpc::Other.kind(), Rpc::Other.effect()), (RpcKind::Write, Effect::Write));
    }
}
