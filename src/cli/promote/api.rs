//! The messages of etcd's v3 API that a promotion needs (etcd `rpc.proto`, the same in 3.0 to 3.7).

use prost::Message;

use crate::cluster::member::{Member, MemberList};

pub(super) const MEMBER_LIST: &str = "/etcdserverpb.Cluster/MemberList";
pub(super) const MEMBER_ADD: &str = "/etcdserverpb.Cluster/MemberAdd";
pub(super) const STATUS: &str = "/etcdserverpb.Maintenance/Status";

#[derive(Clone, PartialEq, Message)]
pub(super) struct Header {
    #[prost(uint64, tag = "1")]
    pub(super) cluster_id: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WireMember {
    #[prost(uint64, tag = "1")]
    pub(super) id: u64,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(string, repeated, tag = "3")]
    pub(super) peer_urls: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    pub(super) client_urls: Vec<String>,
    #[prost(bool, tag = "5")]
    pub(super) is_learner: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MemberListRequest {
    /// Confirms the list through a quorum. Since 3.5; older members answer from their local state.
    #[prost(bool, tag = "1")]
    pub(super) linearizable: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MemberListResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<Header>,
    #[prost(message, repeated, tag = "2")]
    pub(super) members: Vec<WireMember>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MemberAddRequest {
    #[prost(string, repeated, tag = "1")]
    pub(super) peer_urls: Vec<String>,
    #[prost(bool, tag = "2")]
    pub(super) is_learner: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MemberAddResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<Header>,
    #[prost(message, optional, tag = "2")]
    pub(super) member: Option<WireMember>,
    #[prost(message, repeated, tag = "3")]
    pub(super) members: Vec<WireMember>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StatusRequest {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StatusResponse {
    /// Zero means that the member sees no leader.
    #[prost(uint64, tag = "4")]
    pub(super) leader: u64,
}

impl From<WireMember> for Member {
    fn from(wire: WireMember) -> Self {
        let WireMember { id, name, peer_urls, client_urls, is_learner } = wire;
        Self { id, name, peer_urls, client_urls, is_learner }
    }
}

/// Builds a member list from a response. The order is kept, because etcdctl prints it so.
pub(super) fn list(header: Option<Header>, members: Vec<WireMember>) -> MemberList {
    let cluster_id = header.unwrap_or_default().cluster_id;
    MemberList { cluster_id, members: members.into_iter().map(Member::from).collect() }
}
