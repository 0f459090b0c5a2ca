//! Tells a list that can be accepted from one that a member gave while it was still replaying its
//! own log.
//!
//! A member that has just been restarted answers `GET /members` before it has replayed its
//! write-ahead log: first with an empty list, then with some of the members, then with members that
//! have no client URLs yet (seen on etcd 3.4). A partial list is not a change. So a member keeps
//! its known client URLs until new ones appear, and a list that lost members is accepted only when
//! the next refresh misses the same ones.

use super::member::MemberList;

/// Checks the list `told` by a peer against the `known` one. `suspected` are the members that the
/// previous list missed.
///
/// # Errors
/// The IDs of the missing members, if their absence has to be confirmed by another refresh.
pub fn confirm_shrink(
    known: Option<&MemberList>,
    mut told: MemberList,
    suspected: &[u64],
) -> Result<MemberList, Vec<u64>> {
    let Some(known) = known.filter(|known| known.cluster_id == told.cluster_id) else {
        return Ok(told);
    };
    let told_of = |id: u64| told.members.iter().any(|member| member.id == id);
    let missing: Vec<u64> =
        known.members.iter().map(|member| member.id).filter(|id| !told_of(*id)).collect();
    if !missing.is_empty() && missing != suspected {
        return Err(missing);
    }
    for member in told.members.iter_mut().filter(|member| member.client_urls.is_empty()) {
        if let Some(before) = known.members.iter().find(|before| before.id == member.id) {
            member.client_urls.clone_from(&before.client_urls);
            member.name.clone_from(&before.name);
        }
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::super::member::Member;
    use super::*;

    fn list(cluster_id: u64, members: &[(u64, &[&str])]) -> MemberList {
        let member = |(id, urls): &(u64, &[&str])| Member {
            id: *id,
            name: if urls.is_empty() { String::new() } else { format!("infra{id}") },
            peer_urls: vec![format!("http://127.0.0.1:{id}")],
            client_urls: urls.iter().map(|url| (*url).to_owned()).collect(),
            is_learner: false,
        };
        MemberList { cluster_id, members: members.iter().map(member).collect() }
    }

    #[test]
    fn a_member_keeps_the_client_urls_it_had_until_it_has_others() {
        let known = list(1, &[(1, &["http://a:1"]), (2, &["http://a:2"])]);
        let replaying = list(1, &[(1, &[]), (2, &["http://a:3"])]);
        let believed = confirm_shrink(Some(&known), replaying, &[]).unwrap();
        assert_eq!(believed, list(1, &[(1, &["http://a:1"]), (2, &["http://a:3"])]));
    }

    #[test]
    fn a_list_that_lost_members_needs_a_second_look_that_says_the_same() {
        let known = list(1, &[(1, &["http://a:1"]), (2, &["http://a:2"])]);
        let shrunk = list(1, &[(1, &["http://a:1"])]);
        assert_eq!(confirm_shrink(Some(&known), shrunk.clone(), &[]), Err(vec![2]));
        assert_eq!(confirm_shrink(Some(&known), shrunk.clone(), &[7]), Err(vec![2]));
        assert_eq!(confirm_shrink(Some(&known), shrunk.clone(), &[2]), Ok(shrunk));
    }

    #[test]
    fn the_first_list_and_another_clusters_are_believed_at_once() {
        let told = list(2, &[(9, &[])]);
        assert_eq!(confirm_shrink(None, told.clone(), &[]), Ok(told.clone()));
        assert_eq!(
            confirm_shrink(Some(&list(1, &[(1, &["http://a:1"])])), told.clone(), &[]),
            Ok(told)
        );
    }
}
