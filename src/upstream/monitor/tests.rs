//! When a monitor has its member probed, by times that the tests make up.

use http::uri::Scheme;

use super::*;
use crate::upstream::protocols::Api;

const INTERVAL: Duration = Duration::from_secs(1);
const REFRESH: Duration = Duration::from_secs(30);

/// A monitor whose first probe was answered at the moment that is returned.
fn healthy(neighbours: &Rc<Neighbours>) -> (Monitor, Instant) {
    let url = "http://127.0.0.1:2379";
    let endpoint = Endpoint::new(url, 1, "m", 1, Scheme::HTTP, "127.0.0.1", 2379, 1).unwrap();
    let mut monitor = Monitor::new(endpoint.into(), INTERVAL, REFRESH, neighbours.clone());
    let began = Instant::now();
    assert_eq!(monitor.plan(began), (began, Due::Quorum), "nothing is known of a new one");
    monitor.probed(began, Some(&ProbeResult::Healthy));
    (monitor, began)
}

/// What is due, and after how many seconds since `began` at the latest.
fn plan(monitor: &mut Monitor, began: Instant, now: Instant) -> (u64, Due) {
    monitor.jitter = 1.0;
    monitor.observe(now);
    let (at, due) = monitor.plan(now);
    ((at - began).as_secs_f64().round() as u64, due)
}

#[test]
fn nothing_is_probed_while_nobody_asks_anything() {
    let neighbours = Rc::default();
    let (mut monitor, began) = healthy(&neighbours);
    assert_eq!(plan(&mut monitor, began, began), (30, Due::Nothing));
    let (mut other, _) = healthy(&neighbours);
    let _stream = other.endpoint.activity.begin(0, true);
    other.observe(began);
    assert_eq!(plan(&mut monitor, began, began), (30, Due::Process), "it may be next");
    assert!(monitor.keeps_connection());
    drop(other);
    assert_eq!(plan(&mut monitor, began, began), (30, Due::Nothing));
    assert!(!monitor.keeps_connection());
}

#[test]
fn a_page_of_health_has_an_idle_member_checked() {
    let neighbours = Rc::default();
    let (mut monitor, began) = healthy(&neighbours);
    monitor.endpoint.activity.request_check();
    let later = began + 2 * INTERVAL;
    assert_eq!(plan(&mut monitor, began, later), (5, Due::Process));
    assert!(monitor.keeps_connection(), "the page may be asked for again");
    monitor.checked();
    monitor.last_sign = later;
    assert_eq!(plan(&mut monitor, began, later).1, Due::Nothing, "once for each time");
    monitor.endpoint.activity.request_check();
    let again = later + TICK;
    assert_eq!(plan(&mut monitor, began, again), (7, Due::Process), "also a moment later");
}

#[test]
fn a_request_that_waits_is_due_at_once_and_then_at_the_interval() {
    let neighbours = Rc::default();
    let (mut monitor, began) = healthy(&neighbours);
    let endpoint = monitor.endpoint.clone();
    let mut waits = endpoint.activity.begin(0, false);
    let later = began + 3 * INTERVAL;
    assert!(monitor.observe(later), "it is looked at again in a tick");
    assert_eq!(plan(&mut monitor, began, later), (5, Due::Process));
    endpoint.activity.advance();
    endpoint.activity.advance();
    assert_eq!(plan(&mut monitor, began, later), (1, Due::Quorum), "overdue");
    monitor.probed(later, Some(&ProbeResult::Healthy));
    assert_eq!(plan(&mut monitor, began, later), (4, Due::Quorum));
    endpoint.activity.answer(0, &mut waits);
    assert_eq!(plan(&mut monitor, began, later).1, Due::Process);
}

#[test]
fn a_long_interval_delays_no_first_probe_and_none_that_is_due_anyway() {
    let neighbours = Rc::default();
    let (mut monitor, began) = healthy(&neighbours);
    monitor.interval = 60 * INTERVAL;
    let _waits = monitor.endpoint.activity.begin(0, false);
    (0..2).for_each(|_| monitor.endpoint.activity.advance());
    let later = began + 3 * INTERVAL;
    assert_eq!(plan(&mut monitor, began, later), (1, Due::Quorum), "at once");
    monitor.probed(later, Some(&ProbeResult::Healthy));
    monitor.last_sign = later;
    assert_eq!(plan(&mut monitor, began, later), (8, Due::Process));
}

#[test]
fn a_member_in_use_is_checked_by_both_probes_at_their_pace() {
    let neighbours = Rc::default();
    let (mut monitor, began) = healthy(&neighbours);
    let mut stream = monitor.endpoint.activity.begin(0, true);
    assert!(monitor.observe(began), "it may be told nothing");
    monitor.endpoint.clone().activity.answer(0, &mut stream);
    assert_eq!(plan(&mut monitor, began, began), (5, Due::Process));
    monitor.last_sign = began + CHECK_EVERY;
    assert_eq!(plan(&mut monitor, began, began + CHECK_EVERY), (10, Due::Quorum));
}

#[test]
fn answers_that_need_no_quorum_do_not_put_off_the_probe_that_asks_one() {
    let neighbours = Rc::default();
    let (mut monitor, began) = healthy(&neighbours);
    let endpoint = monitor.endpoint.clone();
    for second in 1..=8 {
        let mut read = endpoint.activity.begin(0, false);
        endpoint.activity.answer(0, &mut read);
        endpoint.activity.end(0, &mut read);
        monitor.observe(began + second * INTERVAL);
    }
    assert_eq!(plan(&mut monitor, began, began + 8 * INTERVAL), (10, Due::Quorum));
    assert!(monitor.may_be_next(), "although nothing is open at this moment");
    let idle = began + 30 * INTERVAL;
    assert_eq!(plan(&mut monitor, began, idle).1, Due::Nothing);
    assert!(!monitor.may_be_next());
}

#[test]
fn a_new_stream_that_hears_nothing_for_a_tick_is_probed_for_once() {
    let neighbours = Rc::default();
    let (mut monitor, began) = healthy(&neighbours);
    let _stream = monitor.endpoint.activity.begin(0, true);
    let later = began + 2 * INTERVAL;
    assert_eq!(plan(&mut monitor, began, later).1, Due::Process);
    assert_eq!(plan(&mut monitor, began, later + TICK), (1, Due::Quorum));
    monitor.probed(later + TICK, Some(&ProbeResult::Healthy));
    assert_eq!(plan(&mut monitor, began, later + 2 * TICK).1, Due::Process);
}

#[test]
fn a_failing_member_is_probed_at_the_interval_and_later_more_rarely() {
    let neighbours = Rc::default();
    let (mut monitor, began) = healthy(&neighbours);
    let turned_away = ProbeResult::Unhealthy("it refuses our certificate".into());
    monitor.probed(began, Some(&turned_away));
    assert_eq!(plan(&mut monitor, began, began), (1, Due::Quorum));
    let late = began + SOON;
    monitor.probed(late, Some(&turned_away));
    assert_eq!(plan(&mut monitor, began, late), (60, Due::Quorum), "nobody is connected");
    let _stream = monitor.endpoint.activity.begin(0, true);
    assert_eq!(plan(&mut monitor, began, late), (35, Due::Quorum));
    monitor.probed(late, Some(&ProbeResult::Healthy));
    assert_eq!(plan(&mut monitor, began, late).1, Due::Process);
}

#[test]
fn a_page_of_health_learns_soon_that_a_member_is_back() {
    let neighbours = Rc::default();
    let (mut monitor, began) = healthy(&neighbours);
    let dead = ProbeResult::Unresponsive("connection refused".into());
    monitor.probed(began, Some(&dead));
    monitor.observe(began);
    let late = began + SOON;
    monitor.probed(late, Some(&dead));
    assert_eq!(plan(&mut monitor, began, late), (60, Due::Quorum));
    monitor.endpoint.activity.request_check();
    assert_eq!(plan(&mut monitor, began, late), (35, Due::Quorum));
}

#[test]
fn a_member_without_a_quorum_is_soon_asked_again() {
    let neighbours = Rc::default();
    let (mut monitor, began) = healthy(&neighbours);
    monitor.interval = 5 * INTERVAL;
    let no_quorum = ProbeResult::NoQuorum("no leader".into());
    monitor.endpoint.mark_probed(&no_quorum);
    monitor.probed(began, Some(&no_quorum));
    assert_eq!(plan(&mut monitor, began, began), (1, Due::Quorum), "streams may leave it");
}

#[test]
fn a_failure_that_traffic_has_seen_is_probed_for() {
    for api in [Api::Grpc, Api::Http] {
        let neighbours = Rc::default();
        let (mut monitor, began) = healthy(&neighbours);
        monitor.endpoint.mark_proved();
        monitor.endpoint.mark_failed_for(api, "connection lost", REFRESH);
        assert_eq!(plan(&mut monitor, began, began), (1, Due::Quorum), "{api:?}");
        monitor.interval = 60 * INTERVAL;
        assert_eq!(plan(&mut monitor, began, began), (5, Due::Quorum), "as if it had not failed");
    }
}

#[test]
fn when_a_member_in_use_fails_the_others_are_probed_at_once() {
    let neighbours = Rc::default();
    let ((mut failed, began), (mut other, _)) = (healthy(&neighbours), healthy(&neighbours));
    let later = began + 2 * INTERVAL;
    let _stream = failed.endpoint.activity.begin(0, true);
    failed.observe(later);
    failed.probed(later, Some(&ProbeResult::Unresponsive("no answer".into())));
    assert_eq!(plan(&mut other, began, later), (1, Due::Quorum));
    other.failures = neighbours.failures.get();
    assert_eq!(plan(&mut other, began, later).1, Due::Process);
    assert_eq!(failed.failures, neighbours.failures.get(), "it has just been probed itself");
    failed.probed(later, Some(&ProbeResult::NoQuorum("no leader".into())));
    assert_eq!(plan(&mut other, began, later).1, Due::Quorum, "it fails in another way now");
}

#[test]
fn trouble_of_this_host_is_probed_again_and_alarms_nobody() {
    let neighbours = Rc::default();
    let (mut monitor, began) = healthy(&neighbours);
    monitor.probed(began, None);
    assert_eq!(plan(&mut monitor, began, began), (1, Due::Quorum));
    assert_eq!(neighbours.failures.get(), 0);
}
