//! Families of the traffic, added up over the workers' counters.

use std::borrow::Cow;
use std::sync::Arc;

use super::family::{Family, Group, Histogram, Labels, Number, Samples};
use crate::telemetry::counters::{
    CODE_NAMES, ClientTlsError, Dropped, HTTP_BOUNDS, HttpMethod, MethodCounters, RPC_BOUNDS,
    RetryReason, RpcCounters, UnansweredWrite, WorkerCounters,
};

/// The counters of all workers, with the names of the gRPC calls.
#[derive(Clone, Copy)]
pub struct Counted<'a> {
    /// The counters, one set per worker.
    pub counters: &'a [Arc<WorkerCounters>],
    /// The names of the calls, such as `KV/Range`, by their index in the counters.
    pub rpcs: &'a [&'static str],
}

impl<'a> Counted<'a> {
    /// Returns every family that comes from the counters.
    pub fn groups(self) -> [Group; 3] {
        let requests =
            vec![self.requests(), self.handled(), self.dropped(), self.handling_duration()];
        let calls = vec![self.rpcs_started(), self.rpcs_handled(), self.rpc_duration()];
        let failures = vec![
            self.retries(),
            self.writes_refused(),
            self.writes_unanswered(),
            self.loops_refused(),
            self.malformed(),
            self.shed(),
            self.client_tls_errors(),
        ];
        [
            ("Requests over HTTP", requests),
            ("gRPC calls", calls),
            ("Retries, refusals and failures", failures),
        ]
    }

    /// Adds up a number over the workers.
    fn sum(self, pick: impl Fn(&WorkerCounters) -> u64) -> u64 {
        self.counters.iter().map(|worker| pick(worker)).sum()
    }

    /// Adds up arrays of numbers over the workers, element by element.
    fn sum_each<I: Iterator<Item = u64>>(
        self,
        pick: impl Fn(&'a WorkerCounters) -> Option<I>,
    ) -> Vec<u64> {
        let mut sums: Vec<u64> = Vec::new();
        for counts in self.counters.iter().filter_map(|worker| pick(worker)) {
            for (index, count) in counts.enumerate() {
                match sums.get_mut(index) {
                    Some(sum) => *sum += count,
                    None => sums.push(count),
                }
            }
        }
        sums
    }

    fn requests(self) -> Family {
        let by_method = |method: HttpMethod| {
            let started = self.sum(|worker| worker.method(method).started());
            (started > 0).then(|| (method_label(method), started.into()))
        };
        Family {
            name: "etcd_proxy_requests",
            help: "Requests that came in, by HTTP method.",
            samples: Samples::Counter(HttpMethod::ALL.into_iter().filter_map(by_method).collect()),
        }
    }

    fn handled(self) -> Family {
        let by_method = |method: HttpMethod| {
            let counts = self.sum_each(|worker| Some(worker.method(method).status_counts()));
            let statuses = MethodCounters::statuses().zip(counts).filter(|(_, count)| *count > 0);
            statuses.map(move |(status, count)| {
                let code = status.map_or("other".into(), |status| status.to_string().into());
                ([method_label(method), vec![("code", code)]].concat(), count.into())
            })
        };
        Family {
            name: "etcd_proxy_handled",
            help: "Requests that a member answered, by HTTP method and status.",
            samples: Samples::Counter(HttpMethod::ALL.into_iter().flat_map(by_method).collect()),
        }
    }

    fn dropped(self) -> Family {
        let pairs =
            HttpMethod::ALL.into_iter().flat_map(|m| Dropped::ALL.map(|reason| (m, reason)));
        let sample = |(method, reason): (HttpMethod, Dropped)| {
            let count = self.sum(|worker| worker.method(method).dropped(reason));
            let labels = [method_label(method), vec![("proxying_error", reason.label().into())]];
            (count > 0).then(|| (labels.concat(), count.into()))
        };
        Family {
            name: "etcd_proxy_dropped",
            help: "Requests that could not be handed to a member, by HTTP method and reason; \
                   failed_sending_request counts attempts.",
            samples: Samples::Counter(pairs.filter_map(sample).collect()),
        }
    }

    fn handling_duration(self) -> Family {
        let by_method = |method: HttpMethod| {
            let duration = |worker: &WorkerCounters| worker.method(method).duration().sum_seconds();
            let sum = self.counters.iter().map(|worker| duration(worker)).sum();
            let counts = self.sum_each(|worker| Some(worker.method(method).duration().counts()));
            histogram(&HTTP_BOUNDS, &counts, sum).map(|value| (method_label(method), value))
        };
        Family {
            name: "etcd_proxy_handling_duration_seconds",
            help: "Time from a request's headers to those of the member's response, by HTTP method.",
            samples: Samples::Histogram(
                HttpMethod::ALL.into_iter().filter_map(by_method).collect(),
            ),
        }
    }

    /// Calls `sample` for each kind of gRPC call and collects its results.
    fn each_rpc<T>(self, sample: impl Fn(usize, Labels) -> Option<T>) -> Vec<T> {
        let rpcs = self.rpcs.iter().enumerate();
        rpcs.filter_map(|(rpc, name)| sample(rpc, vec![("rpc", Cow::Borrowed(*name))])).collect()
    }

    fn rpcs_started(self) -> Family {
        let sample = |rpc, labels| {
            let count = self.sum(|worker| worker.rpc(rpc).map_or(0, RpcCounters::started));
            (count > 0).then(|| (labels, count.into()))
        };
        Family {
            name: "etcd_proxy_rpc_started",
            help: "gRPC calls that came in.",
            samples: Samples::Counter(self.each_rpc(sample)),
        }
    }

    fn rpcs_handled(self) -> Family {
        let samples = |rpc, labels: Labels| {
            let counts = self.sum_each(|worker| worker.rpc(rpc).map(RpcCounters::codes));
            let counts = CODE_NAMES.into_iter().zip(counts).filter(|(_, count)| *count > 0);
            Some(counts.map(move |(code, count)| {
                ([labels.clone(), vec![("code", code.into())]].concat(), Number::from(count))
            }))
        };
        Family {
            name: "etcd_proxy_rpc_handled",
            help: "gRPC calls that ended, by status, whether set by a member or by this proxy.",
            samples: Samples::Counter(self.each_rpc(samples).into_iter().flatten().collect()),
        }
    }

    fn rpc_duration(self) -> Family {
        let sample = |rpc, labels| {
            let duration =
                |worker: &WorkerCounters| Some(worker.rpc(rpc)?.duration().sum_seconds());
            let sum = self.counters.iter().filter_map(|worker| duration(worker)).sum();
            let counts = self.sum_each(|worker| Some(worker.rpc(rpc)?.duration().counts()));
            histogram(&RPC_BOUNDS, &counts, sum).map(|value| (labels, value))
        };
        Family {
            name: "etcd_proxy_rpc_handling_duration_seconds",
            help: "Time from a gRPC call's headers to its end; for a stream, its whole life.",
            samples: Samples::Histogram(self.each_rpc(sample)),
        }
    }

    fn retries(self) -> Family {
        let sample = |reason: RetryReason| {
            let count = self.sum(|worker| worker.retries(reason));
            (vec![("reason", reason.label().into())], count.into())
        };
        Family {
            name: "etcd_proxy_retries",
            help: "Requests that were tried again on another connection or member.",
            samples: Samples::Counter(RetryReason::ALL.into_iter().map(sample).collect()),
        }
    }

    fn writes_refused(self) -> Family {
        let help = "Writes that were refused because the proxy is readonly.";
        Family::counter("etcd_proxy_refused_writes", help, self.sum(WorkerCounters::writes_refused))
    }

    fn writes_unanswered(self) -> Family {
        let sample = |reason: UnansweredWrite| {
            let count = self.sum(|worker| worker.writes_unanswered(reason));
            (vec![("reason", reason.label().into())], count.into())
        };
        Family {
            name: "etcd_proxy_unanswered_writes",
            help: "Writes that were sent but not answered, so that it is unknown whether they were carried out.",
            samples: Samples::Counter(UnansweredWrite::ALL.into_iter().map(sample).collect()),
        }
    }

    fn loops_refused(self) -> Family {
        let help = "Requests that were refused because they had come through this proxy before.";
        Family::counter("etcd_proxy_loop_refused", help, self.sum(WorkerCounters::loops_refused))
    }

    fn shed(self) -> Family {
        let help = "Idle client connections that were closed because memory was short.";
        Family::counter("etcd_proxy_connections_shed", help, self.sum(WorkerCounters::shed))
    }

    fn malformed(self) -> Family {
        let help = "Requests that were refused because they are ambiguous or malformed.";
        Family::counter("etcd_proxy_malformed_requests", help, self.sum(WorkerCounters::malformed))
    }

    fn client_tls_errors(self) -> Family {
        let sample = |reason: ClientTlsError| {
            let count = self.sum(|worker| worker.client_tls_errors(reason));
            (vec![("reason", reason.label().into())], count.into())
        };
        Family {
            name: "etcd_proxy_client_tls_errors",
            help: "Client connections that failed: TLS to a listener without it, plain HTTP to one with it, or a \
                   failed handshake.",
            samples: Samples::Counter(ClientTlsError::ALL.into_iter().map(sample).collect()),
        }
    }
}

fn method_label(method: HttpMethod) -> Labels {
    vec![("method", method.label().into())]
}

/// Builds a histogram from counts by bucket, with bounds in microseconds; `None` if nothing was
/// observed.
fn histogram(bounds: &[u64], counts: &[u64], sum: f64) -> Option<Histogram> {
    let bounds = bounds.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]);
    let buckets: Vec<_> = bounds.zip(counts.iter().copied()).collect();
    buckets.iter().any(|(_, count)| *count > 0).then_some(Histogram { buckets, sum })
}
