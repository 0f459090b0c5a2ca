//! Requests of a promotion to the cluster: lists the members, checks their health, and adds one.
//!
//! They go directly to the members, not through the proxy, which is stopped during the promotion.
//! The v3 API is tried first, and v2 on members without it.

use std::time::Duration;

use super::{api, v2};
use crate::cluster::grpc::{CallError, Channel, UNIMPLEMENTED};
use crate::cluster::member::{Member, MemberList};
use crate::cluster::url::parse_listed;
use crate::config::{PeerUrl, Settings};
use crate::net::coalesce::CoalescingWriter;
use crate::net::dial::{Authority, NamedBy, dial};
use crate::net::maybe_tls::MaybeTlsStream;
use crate::tls::{Alpn, Connector};

/// Time limit of one call; etcd's own clients wait 5 s.
const LIMIT: Duration = Duration::from_secs(5);
/// Time limit of a membership change: etcd's `member add` waits at most for a raft round and an
/// election.
const CHANGE_LIMIT: Duration = Duration::from_secs(15);

/// Access to the members' client ports.
pub(super) struct MemberAccess {
    dial_timeout: Duration,
    user: Option<(String, String)>,
    tls: Connector,
}

/// A member that answers, with the API it serves.
pub(super) struct Cluster<'a> {
    member_access: &'a MemberAccess,
    /// The member's client URL that is used.
    pub(super) url: String,
    to: PeerUrl,
    /// The v3 connection; `None` if the member serves only v2.
    channel: Option<Channel>,
}

/// A member that was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Added {
    /// Its ID.
    pub(super) id: u64,
    /// The member list with the new member, in the cluster's own order.
    pub(super) list: MemberList,
}

impl MemberAccess {
    /// Creates access with these settings and this user.
    pub(super) fn new(
        settings: &Settings,
        tls: &Connector,
        user: Option<(String, String)>,
    ) -> Self {
        Self { dial_timeout: settings.dial_timeout.unwrap_or(LIMIT), user, tls: tls.clone() }
    }

    async fn connect(&self, to: &PeerUrl, alpn: Alpn) -> Result<MaybeTlsStream, String> {
        let stream = dial(&to.host, to.port, NamedBy::Network, Some(self.dial_timeout)).await;
        let stream = stream.map_err(|error| error.reason.to_string())?;
        if !to.tls {
            return Ok(MaybeTlsStream::Tcp(stream));
        }
        let secured = self.tls.connect(CoalescingWriter(stream), &to.host, alpn);
        let secured = tokio::time::timeout(LIMIT, secured)
            .await
            .map_err(|_| format!("no TLS handshake within {LIMIT:?}"))?;
        Ok(MaybeTlsStream::Tls(Box::new(secured.map_err(|error| error.to_string())?)))
    }

    async fn channel(&self, to: &PeerUrl) -> Result<Channel, CallError> {
        let stream = self.connect(to, Alpn::H2).await.map_err(CallError::Lost)?;
        Channel::over(stream, &authority(to), to.tls).await
    }

    /// Finds the first of these client URLs that answers with the member list. `fresh` requests a
    /// list that is confirmed by a quorum.
    ///
    /// # Errors
    /// The reason for each URL.
    pub(super) async fn find(
        &self,
        urls: &[String],
        fresh: bool,
    ) -> Result<(Cluster<'_>, MemberList), String> {
        let mut reasons = Vec::new();
        for url in urls {
            match self.try_one(url, fresh).await {
                Ok(found) => return Ok(found),
                Err(reason) => reasons.push(format!("{url}: {reason}")),
            }
        }
        if reasons.is_empty() {
            return Err("no member has a client URL that could be asked".to_owned());
        }
        Err(reasons.join("; "))
    }

    async fn try_one(&self, url: &str, fresh: bool) -> Result<(Cluster<'_>, MemberList), String> {
        let to = parse_listed(url).map_err(|error| error.to_string())?;
        let mut cluster = Cluster { member_access: self, url: url.to_owned(), to, channel: None };
        let v3 = self.list_by_v3(&mut cluster, fresh).await;
        let list = match v3 {
            Ok(list) => list,
            // Only a server without the v3 API breaks the connection or does not know the call.
            Err(
                CallError::Lost(_) | CallError::Strange(_) | CallError::Status(UNIMPLEMENTED, _),
            ) => {
                cluster.channel = None;
                let v2 = cluster.v2_members().await;
                v2.map_err(|error| format!("{}; v2: {error}", sentence(&v3)))?
            }
            Err(error) => return Err(error.to_string()),
        };
        if list.members.is_empty() {
            return Err("an empty member list".to_owned());
        }
        Ok((cluster, list))
    }

    async fn list_by_v3(
        &self,
        cluster: &mut Cluster<'_>,
        fresh: bool,
    ) -> Result<MemberList, CallError> {
        let mut channel = self.channel(&cluster.to).await?;
        if let Some((name, password)) = &self.user {
            channel.authenticate(name, password, LIMIT).await?;
        }
        let request = api::MemberListRequest { linearizable: fresh };
        let answer: api::MemberListResponse =
            channel.call(api::MEMBER_LIST, &request, LIMIT).await?;
        cluster.channel = Some(channel);
        Ok(api::list(answer.header, answer.members))
    }
}

fn sentence(result: &Result<MemberList, CallError>) -> String {
    result.as_ref().err().map(ToString::to_string).unwrap_or_default()
}

fn authority(to: &PeerUrl) -> String {
    Authority(&to.host, to.port).to_string()
}

impl Cluster<'_> {
    /// Returns whether the member serves the v3 API.
    pub(super) fn has_v3(&self) -> bool {
        self.channel.is_some()
    }

    async fn v2_members(&self) -> Result<MemberList, String> {
        let stream = self.member_access.connect(&self.to, Alpn::Http1).await?;
        v2::members(stream, &authority(&self.to), self.member_access.user.as_ref(), LIMIT).await
    }

    /// Adds a member.
    ///
    /// # Errors
    /// The reason, and whether it is certain that nothing was changed.
    pub(super) async fn add(
        &self,
        peer_urls: &[String],
        is_learner: bool,
    ) -> Result<Added, (String, bool)> {
        let Some(channel) = &self.channel else { return self.v2_add(peer_urls).await };
        let request = api::MemberAddRequest { peer_urls: peer_urls.to_vec(), is_learner };
        let answer: api::MemberAddResponse = channel
            .call(api::MEMBER_ADD, &request, CHANGE_LIMIT)
            .await
            .map_err(|error| (error.to_string(), has_changed_nothing(&error)))?;
        let id = answer.member.map(|member| member.id).unwrap_or_default();
        Ok(Added { id, list: api::list(answer.header, answer.members) })
    }

    async fn v2_add(&self, peer_urls: &[String]) -> Result<Added, (String, bool)> {
        let sure = |reason: String| (reason, true);
        let stream = self.member_access.connect(&self.to, Alpn::Http1).await.map_err(sure)?;
        let user = self.member_access.user.as_ref();
        let added = v2::add(stream, &authority(&self.to), user, peer_urls, CHANGE_LIMIT).await;
        let Member { id, .. } = added?;
        let list = self.v2_members().await.map_err(|reason| (reason, false))?;
        Ok(Added { id, list })
    }

    /// Checks the health of a member, at the first of its client URLs that reports it healthy.
    pub(super) async fn health(&self, member: &Member) -> Result<(), String> {
        let mut reason = "it has not started".to_owned();
        for url in &member.client_urls {
            match self.health_at(url).await {
                Ok(()) => return Ok(()),
                Err(error) => reason = format!("{url}: {error}"),
            }
        }
        Err(reason)
    }

    async fn health_at(&self, url: &str) -> Result<(), String> {
        let to = parse_listed(url).map_err(|error| error.to_string())?;
        if self.channel.is_none() {
            return v2::health(
                self.member_access.connect(&to, Alpn::Http1).await?,
                &authority(&to),
                LIMIT,
            )
            .await;
        }
        let channel = self.member_access.channel(&to).await.map_err(|error| error.to_string())?;
        let status: Result<api::StatusResponse, CallError> =
            channel.call(api::STATUS, &api::StatusRequest {}, LIMIT).await;
        match status {
            Ok(status) if status.leader == 0 => Err("it sees no leader".to_owned()),
            Ok(_) => Ok(()),
            // A member that refuses unauthenticated calls is alive. With authentication on, newer
            // members require a login for their status.
            Err(CallError::Status(3 | 7 | 16, _)) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Returns whether the error proves that nothing was changed. etcd refuses before it changes
/// anything, except with DEADLINE_EXCEEDED and UNAVAILABLE, which may come after a change was
/// proposed.
fn has_changed_nothing(error: &CallError) -> bool {
    match error {
        CallError::Status(14, words) => words.contains("unhealthy cluster"),
        CallError::Status(code, _) => *code != 4,
        CallError::Lost(_) | CallError::Strange(_) | CallError::TimedOut(_) => false,
    }
}
