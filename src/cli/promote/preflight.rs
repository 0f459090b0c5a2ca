//! Checks whether a member may be added to the cluster; each objection is a sentence.

use crate::cluster::member::{Member, MemberList};

/// A member's health: `None` if healthy, else the reason.
pub(super) type Health = Option<String>;

/// Returns all objections to adding a member with this name and these peer URLs. `health` has one
/// entry per member of `list`.
pub(super) fn against(
    name: &str,
    peer_urls: &[String],
    learner: bool,
    list: &MemberList,
    health: &[Health],
) -> Vec<String> {
    let mut reasons = Vec::new();
    for member in &list.members {
        let taken = member.peer_urls.iter().find(|url| peer_urls.contains(url));
        if let Some(url) = taken {
            reasons.push(taken_url(member, url));
        } else if member.name == name {
            reasons.push(format!(
                "member {} is already called {name}; want another --name",
                member.hex_id()
            ));
        } else if member.name.is_empty() {
            reasons.push(format!(
                "member {} was added ({}) and has not started; start it, or remove it with `etcdctl member remove {0}`",
                member.hex_id(),
                member.peer_urls.join(",")
            ));
        }
    }
    if !learner {
        reasons.extend(quorum_at_risk(list, health));
    }
    reasons
}

fn taken_url(member: &Member, url: &str) -> String {
    let id = member.hex_id();
    if member.name.is_empty() {
        format!(
            "{url} is already a member, {id}, which has not started and was not added by a promotion here; \
             `etcdctl member remove {id}` removes it"
        )
    } else {
        format!("{url} is already a member: {} ({id})", member.label())
    }
}

/// Returns an objection if the healthy voters would not be a quorum after the addition: a voter
/// that has not started raises the quorum without contributing to it. A healthy cluster of one is
/// accepted, as by etcd: it could not grow otherwise.
fn quorum_at_risk(list: &MemberList, health: &[Health]) -> Option<String> {
    let voters: Vec<_> =
        list.members.iter().zip(health).filter(|(member, _)| !member.is_learner).collect();
    let well = voters.iter().filter(|(_, health)| health.is_none()).count();
    let needed = voters.len().div_ceil(2) + 1;
    if well >= needed || (voters.len() == 1 && well == 1) {
        return None;
    }
    let ill: Vec<_> = voters
        .iter()
        .filter_map(|(member, health)| Some(format!("{} ({})", member.label(), health.as_ref()?)))
        .collect();
    Some(format!(
        "quorum would be at risk: of {} voters {well} are healthy, and with one more that has not started {needed} must be; \
         unhealthy: {}; repair or remove them first, or join with --learner",
        voters.len(),
        ill.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> MemberList {
        let member = |(index, name): (usize, &&str)| Member {
            id: index as u64 + 0xa,
            name: (*name).to_owned(),
            peer_urls: vec![format!("http://h{index}:2380")],
            client_urls: Vec::new(),
            is_learner: false,
        };
        MemberList { cluster_id: 1, members: names.iter().enumerate().map(member).collect() }
    }

    fn judged(names: &[&str], well: usize, learner: bool) -> Vec<String> {
        let mut health: Vec<Health> = vec![Some("hangs".to_owned()); names.len()];
        health.iter_mut().take(well).for_each(|health| *health = None);
        against("new", &["http://new:2380".to_owned()], learner, &list(names), &health)
    }

    #[test]
    fn a_cluster_that_is_well_may_grow() {
        for voters in [&["a"][..], &["a", "b"], &["a", "b", "c"], &["a", "b", "c", "d", "e"]] {
            assert_eq!(judged(voters, voters.len(), false), Vec::<String>::new());
        }
    }

    #[test]
    fn a_voter_is_not_added_where_it_would_cost_the_quorum() {
        for (voters, well) in
            [(&["a"][..], 0), (&["a", "b"], 1), (&["a", "b", "c"], 2), (&["a", "b", "c", "d"], 2)]
        {
            let said = judged(voters, well, false);
            assert!(said[0].contains("quorum would be at risk"), "{said:?}");
            assert_eq!(judged(voters, well, true), Vec::<String>::new(), "a learner does no harm");
        }
        // Four of five healthy voters are a quorum of six.
        assert_eq!(judged(&["a", "b", "c", "d", "e"], 4, false), Vec::<String>::new());
    }

    #[test]
    fn a_name_or_url_that_is_taken_is_refused() {
        let against = |name: &str, url: &str| {
            super::against(name, &[url.to_owned()], false, &list(&["a", ""]), &[None, None])
        };
        assert_eq!(
            against("new", "http://h0:2380")[0],
            "http://h0:2380 is already a member: a (a)"
        );
        assert!(against("new", "http://h1:2380")[0].contains("has not started and was not added"));
        assert!(against("a", "http://x:1")[0].contains("already called a"));
        assert!(against("new", "http://x:1")[0].contains("`etcdctl member remove b`"));
    }
}
