//! Numbers for Prometheus.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::store::Record;

/// A request as it is counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Answered {
    /// Its route, as `/v1/memories/{name}`; never what a client wrote.
    pub route: String,
    /// The status of its answer.
    pub status: u16,
}

/// What is counted.
pub struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    secs: Histogram,
    batches: Histogram,
    prompt_tokens: Counter,
    answer_tokens: Counter,
    memories: Counter,
    memorised_tokens: Counter,
    memorising_secs: Counter<f64, AtomicU64>,
    waiting: Gauge,
    adapters: Gauge,
}

impl Metrics {
    /// Nothing has been counted yet.
    pub fn new() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("perk"),
            requests: Family::default(),
            secs: Histogram::new(exponential_buckets(0.001, 4.0, 10)),
            batches: Histogram::new(exponential_buckets(1.0, 2.0, 7)),
            prompt_tokens: Counter::default(),
            answer_tokens: Counter::default(),
            memories: Counter::default(),
            memorised_tokens: Counter::default(),
            memorising_secs: Counter::default(),
            waiting: Gauge::default(),
            adapters: Gauge::default(),
        };
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register("requests", "Requests by route and status", self.requests.clone());
        let what = "Time of a request until its answer is whole, or begins where it is a stream";
        registry.register_with_unit("request", what, Unit::Seconds, self.secs.clone());
        registry.register("batch_requests", "Requests answered side by side", self.batches.clone());
        registry.register("prompt_tokens", "Tokens of prompts", self.prompt_tokens.clone());
        registry.register("answer_tokens", "Tokens of answers", self.answer_tokens.clone());
        registry.register("memories", "Documents memorised", self.memories.clone());
        registry.register("memorised_tokens", "Tokens of memorised documents", self.memorised_tokens.clone());
        let what = "Time of their inner steps";
        registry.register_with_unit("memorising", what, Unit::Seconds, self.memorising_secs.clone());
        registry.register("waiting_requests", "Requests that wait to be answered", self.waiting.clone());
        registry.register("adapters_in_memory", "Adapters that are loaded", self.adapters.clone());
        self
    }

    /// A request was answered, in so many seconds.
    pub fn answered(&self, route: &str, status: u16, secs: f64) {
        self.requests.get_or_create(&Answered { route: route.to_owned(), status }).inc();
        self.secs.observe(secs);
    }

    /// So many requests are answered side by side.
    pub fn batch(&self, requests: usize) {
        self.batches.observe(requests as f64);
    }

    /// A model has read so many tokens and written so many.
    pub fn tokens(&self, prompt: usize, answer: usize) {
        self.prompt_tokens.inc_by(prompt as u64);
        self.answer_tokens.inc_by(answer as u64);
    }

    /// A document was memorised.
    pub fn memorised(&self, record: &Record) {
        self.memories.inc();
        self.memorised_tokens.inc_by(record.context.tokens as u64);
        self.memorising_secs.inc_by(record.cost.inner_secs);
    }

    /// Everything, as Prometheus reads it; what changes by itself is given.
    pub fn text(&self, waiting: usize, adapters: usize) -> String {
        self.waiting.set(waiting as i64);
        self.adapters.set(adapters as i64);
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a String takes everything");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_written_as_prometheus_reads_it() {
        let metrics = Metrics::new();
        metrics.answered("/v1/models", 200, 0.002);
        metrics.answered("/v1/models", 200, 0.3);
        metrics.tokens(7, 3);
        let text = metrics.text(2, 1);
        for line in [
            "perk_requests_total{route=\"/v1/models\",status=\"200\"} 2",
            "perk_request_seconds_count 2",
            "perk_prompt_tokens_total 7",
            "perk_answer_tokens_total 3",
            "perk_waiting_requests 2",
            "perk_adapters_in_memory 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
