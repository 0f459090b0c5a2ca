use std::sync::Arc;
use std::time::Duration;

use super::*;

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_request_is_in_flight_until_it_ends() {
    let tally = Tally::new(0);
    for _ in 0..4 {
        tally.http_started(HttpMethod::Get);
    }
    assert_eq!(tally.traffic().requests_in_flight, 4);

    tally.http_finished(HttpMethod::Get, 200, MS);
    tally.http_abandoned();
    tally.http_dropped(HttpMethod::Get, Dropped::FailedGettingResponse);
    assert_eq!(tally.traffic().requests_in_flight, 1);
}

#[test]
fn a_failed_attempt_leaves_the_request_in_flight() {
    let tally = Tally::new(0);
    tally.http_started(HttpMethod::Put);
    tally.http_dropped(HttpMethod::Put, Dropped::FailedSendingRequest);
    assert_eq!(tally.traffic().requests_in_flight, 1);

    tally.http_finished(HttpMethod::Put, 200, MS);
    assert_eq!(tally.traffic().requests_in_flight, 0);
    assert_eq!(tally.method(HttpMethod::Put).dropped(Dropped::FailedSendingRequest), 1);
}

#[test]
fn a_status_that_http_does_not_define_is_counted_apart() {
    let tally = Tally::new(0);
    for status in [0, 99, 100, 599, 600, u16::MAX] {
        tally.http_started(HttpMethod::Other);
        tally.http_finished(HttpMethod::Other, status, MS);
    }
    let counts = MethodTally::statuses().zip(tally.method(HttpMethod::Other).status_counts());
    let seen: Vec<_> = counts.filter(|(_, count)| *count > 0).collect();
    assert_eq!(seen, [(Some(100), 1), (Some(599), 1), (None, 4)]);
}

#[test]
fn a_code_that_grpc_does_not_define_is_counted_apart() {
    let tally = Tally::new(1);
    for code in [0, 16, 17, 255] {
        tally.rpc_finished(0, code, MS);
    }
    let codes: Vec<u64> = tally.rpc(0).unwrap().codes().collect();
    assert_eq!((codes[0], codes[16], codes[17]), (1, 1, 2));
}

#[test]
fn an_rpc_beyond_the_table_is_not_counted() {
    let tally = Tally::new(2);
    tally.rpc_started(2);
    tally.rpc_finished(2, 0, MS);
    assert_eq!(tally.traffic().rpcs_in_flight, 0);
    assert!(tally.rpc(2).is_none());
}

#[test]
fn a_bound_belongs_to_its_own_bucket() {
    let tally = Tally::new(0);
    for micros in [0, 500, 501, 2_048_000, 2_048_001] {
        tally.http_finished(HttpMethod::Get, 200, Duration::from_micros(micros));
    }
    let counts: Vec<u64> = tally.method(HttpMethod::Get).duration().counts().collect();
    assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    assert_eq!(tally.method(HttpMethod::Get).duration().sum_seconds(), 4.097_002);
}

#[test]
fn a_duration_that_never_ends_is_above_every_bound() {
    let tally = Tally::new(1);
    tally.rpc_finished(0, 0, Duration::MAX);
    assert_eq!(tally.rpc(0).unwrap().duration().counts().last(), Some(1));
}

#[test]
fn traffic_is_the_sum_over_workers() {
    let tallies = [Arc::new(Tally::new(1)), Arc::new(Tally::new(1))];
    for tally in &tallies {
        tally.connection_opened();
        tally.connection_opened();
        tally.rpc_started(0);
    }
    tallies[0].connection_closed();
    let now = traffic(&tallies);
    assert_eq!((now.connections, now.rpcs_in_flight), (3, 2));
}

#[test]
fn another_thread_reads_what_the_worker_counted() {
    let tally = Arc::new(Tally::new(0));
    let worker = Arc::clone(&tally);
    std::thread::spawn(move || (0..1000).for_each(|_| worker.retried(RetryReason::NotSent)))
        .join()
        .unwrap();
    assert_eq!(tally.retries(RetryReason::NotSent), 1000);
}

#[test]
fn discriminants_follow_the_tables() {
    for (index, method) in HttpMethod::ALL.into_iter().enumerate() {
        assert_eq!(method as usize, index);
    }
    for (index, reason) in Dropped::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, index);
    }
    for (index, reason) in RetryReason::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, index);
    }
}

#[test]
fn methods_of_clients_own_making_share_one_label() {
    let method = http::Method::from_bytes(b"PROPFIND").unwrap();
    assert_eq!(HttpMethod::from(&method), HttpMethod::Other);
    assert_eq!(HttpMethod::from(&http::Method::PUT).label(), "PUT");
}
