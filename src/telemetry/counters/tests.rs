use std::sync::Arc;
use std::time::Duration;

use super::*;

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_request_is_in_flight_until_it_ends() {
    let counters = WorkerCounters::new(0);
    for _ in 0..4 {
        counters.http_started(HttpMethod::Get);
    }
    assert_eq!(counters.traffic().requests_in_flight, 4);

    counters.http_finished(HttpMethod::Get, 200, MS);
    counters.http_abandoned();
    counters.http_dropped(HttpMethod::Get, Dropped::FailedGettingResponse);
    assert_eq!(counters.traffic().requests_in_flight, 1);
}

#[test]
fn a_failed_attempt_leaves_the_request_in_flight() {
    let counters = WorkerCounters::new(0);
    counters.http_started(HttpMethod::Put);
    counters.http_dropped(HttpMethod::Put, Dropped::FailedSendingRequest);
    assert_eq!(counters.traffic().requests_in_flight, 1);

    counters.http_finished(HttpMethod::Put, 200, MS);
    assert_eq!(counters.traffic().requests_in_flight, 0);
    assert_eq!(counters.method(HttpMethod::Put).dropped(Dropped::FailedSendingRequest), 1);
}

#[test]
fn a_status_that_http_does_not_define_is_counted_apart() {
    let counters = WorkerCounters::new(0);
    for status in [0, 99, 100, 599, 600, u16::MAX] {
        counters.http_started(HttpMethod::Other);
        counters.http_finished(HttpMethod::Other, status, MS);
    }
    let counts = MethodCounters::statuses().zip(counters.method(HttpMethod::Other).status_counts());
    let seen: Vec<_> = counts.filter(|(_, count)| *count > 0).collect();
    assert_eq!(seen, [(Some(100), 1), (Some(599), 1), (None, 4)]);
}

#[test]
fn a_code_that_grpc_does_not_define_is_counted_apart() {
    let counters = WorkerCounters::new(1);
    for code in [0, 16, 17, 255] {
        counters.rpc_finished(0, code, MS);
    }
    let codes: Vec<u64> = counters.rpc(0).unwrap().codes().collect();
    assert_eq!((codes[0], codes[16], codes[17]), (1, 1, 2));
}

#[test]
fn an_rpc_beyond_the_table_is_not_counted() {
    let counters = WorkerCounters::new(2);
    counters.rpc_started(2);
    counters.rpc_finished(2, 0, MS);
    assert_eq!(counters.traffic().rpcs_in_flight, 0);
    assert!(counters.rpc(2).is_none());
}

#[test]
fn a_bound_belongs_to_its_own_bucket() {
    let counters = WorkerCounters::new(0);
    for micros in [0, 500, 501, 2_048_000, 2_048_001] {
        counters.http_finished(HttpMethod::Get, 200, Duration::from_micros(micros));
    }
    let counts: Vec<u64> = counters.method(HttpMethod::Get).duration().counts().collect();
    assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    assert_eq!(counters.method(HttpMethod::Get).duration().sum_seconds(), 4.097_002);
}

#[test]
fn a_duration_that_never_ends_is_above_every_bound() {
    let counters = WorkerCounters::new(1);
    counters.rpc_finished(0, 0, Duration::MAX);
    assert_eq!(counters.rpc(0).unwrap().duration().counts().last(), Some(1));
}

#[test]
fn traffic_is_the_sum_over_workers() {
    let counters = [Arc::new(WorkerCounters::new(1)), Arc::new(WorkerCounters::new(1))];
    for counters in &counters {
        counters.connection_opened();
        counters.connection_opened();
        counters.rpc_started(0);
    }
    counters[0].connection_closed();
    let now = traffic(&counters);
    assert_eq!((now.connections, now.rpcs_in_flight), (3, 2));
}

#[test]
fn another_thread_reads_what_the_worker_counted() {
    let counters = Arc::new(WorkerCounters::new(0));
    let worker = Arc::clone(&counters);
    std::thread::spawn(move || (0..1000).for_each(|_| worker.retried(RetryReason::NotSent)))
        .join()
        .unwrap();
    assert_eq!(counters.retries(RetryReason::NotSent), 1000);
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
