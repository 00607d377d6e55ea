//! What `/metrics` tells Prometheus.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use wharf_ebpf::Overflow;

/// What is put right; each is told from the beginning, so that the first repair is seen to be one.
const REPAIRED: [&str; 4] = ["nft", "policy rules", "network", "settings"];

/// The metrics of one daemon.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    /// Containers by state.
    pub containers: Family<StateLabel, Gauge>,
    /// Publications by the fastest plane that serves them.
    pub publications: Family<PlaneLabel, Gauge>,
    /// Containers started.
    pub starts: Counter,
    /// Containers that could not be started.
    pub start_failures: Counter,
    /// Host ports that could not be reserved.
    pub reservation_failures: Counter,
    /// Containers started again as their policy says.
    pub restarts: Counter,
    /// Relays that ended and were started again.
    pub relay_restarts: Counter,
    /// Things of ours that others had changed and that were put right, by what they are.
    pub repairs: Family<RepairLabel, Counter>,
    /// Time to bring the planes in line with the ledger.
    pub reconcile: Histogram,
    /// Open connections and flows by the plane that carries them.
    pub connections: Family<PlaneLabel, Gauge>,
    /// Clients turned away and targets not reached, by reason.
    pub refusals: Family<ReasonLabel, Gauge<u64, AtomicU64>>,
    /// What has become of containers' questions for names.
    pub questions: Family<OutcomeLabel, Gauge<u64, AtomicU64>>,
    /// What the eBPF plane had no room for, by what it was.
    pub overflow: Family<MapLabel, Gauge<u64, AtomicU64>>,
    /// Bytes relayed, both ways.
    pub relayed: Gauge<u64, AtomicU64>,
}

/// A container's state.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct StateLabel {
    /// `created`, `running`, `restarting`, `exited` or `removing`.
    pub state: &'static str,
}

/// A plane.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct PlaneLabel {
    /// `nft`, `ebpf`, `relay` or `routed`.
    pub plane: String,
}

/// Why a client was turned away, or its target not reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabel {
    /// As in the `errors` of `wharf ports`, or what a rule of our table is for.
    pub reason: String,
}

/// What has become of a question.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OutcomeLabel {
    /// `answered`, `forwarded`, `unanswered` or `refused`.
    pub outcome: &'static str,
}

/// What the eBPF plane remembers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct MapLabel {
    /// `sockets`, connections that are led, or `busy`, sockets of others in large ranges.
    pub map: &'static str,
}

/// Something of ours on the host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RepairLabel {
    /// `nft`, `policy rules`, `network` or `settings`.
    pub what: &'static str,
}

// === impl Metrics ===

impl Metrics {
    /// A fresh set, all at zero.
    pub(crate) fn new() -> Self {
        // 0.1 ms to about 3 s.
        let reconcile = Histogram::new(exponential_buckets(0.0001, 2.0, 15));
        let metrics = Self {
            registry: Mutex::new(Registry::with_prefix("wharf")),
            containers: Family::default(),
            publications: Family::default(),
            starts: Counter::default(),
            start_failures: Counter::default(),
            reservation_failures: Counter::default(),
            restarts: Counter::default(),
            relay_restarts: Counter::default(),
            repairs: Family::default(),
            reconcile,
            connections: Family::default(),
            refusals: Family::default(),
            questions: Family::default(),
            overflow: Family::default(),
            relayed: Gauge::default(),
        };
        metrics.register();
        for what in REPAIRED {
            drop(metrics.repairs.get_or_create(&RepairLabel { what }));
        }
        metrics
    }

    fn register(&self) {
        let Ok(mut registry) = self.registry.lock() else { return };
        registry.register("containers", "Containers by state", self.containers.clone());
        let help = "Publications by the fastest plane that serves them";
        registry.register("publications", help, self.publications.clone());
        registry.register("container_starts", "Containers started", self.starts.clone());
        let help = "Containers that could not be started";
        registry.register("container_start_failures", help, self.start_failures.clone());
        let help = "Containers started again as their restart policy says";
        registry.register("container_restarts", help, self.restarts.clone());
        let help = "Host ports that could not be reserved";
        registry.register("reservation_failures", help, self.reservation_failures.clone());
        let help = "Relays that ended and were started again";
        registry.register("relay_restarts", help, self.relay_restarts.clone());
        let help = "Times something of ours was put right that others had changed";
        registry.register("repairs", help, self.repairs.clone());
        let help = "Time to bring the planes in line with the ledger";
        let unit = Unit::Seconds;
        registry.register_with_unit("reconcile", help, unit, self.reconcile.clone());
        let help = "Open connections and flows, by the plane that carries them";
        registry.register("connections", help, self.connections.clone());
        let help = "Clients turned away and targets not reached, by reason";
        registry.register("refusals", help, self.refusals.clone());
        let help =
            "Questions of containers for names since the daemon began, by what became of them";
        registry.register("name_questions", help, self.questions.clone());
        let help = "What the eBPF plane had no room for and left to slower planes, by what it was";
        registry.register("ebpf_overflow", help, self.overflow.clone());
        let help = "Bytes the relay has carried, both ways";
        registry.register_with_unit("relayed", help, Unit::Bytes, self.relayed.clone());
    }

    /// Tells how many publications each plane serves.
    pub(crate) fn count_publications(&self, counts: &BTreeMap<String, i64>) {
        self.publications.clear();
        for (plane, count) in counts {
            let label = PlaneLabel { plane: plane.clone() };
            self.publications.get_or_create(&label).set(*count);
        }
    }

    /// Tells how many connections each plane carries.
    pub(crate) fn count_connections(&self, relay: u64, kernel: u64, ebpf: u64) {
        for (plane, count) in [("relay", relay), ("nft", kernel), ("ebpf", ebpf)] {
            let label = PlaneLabel { plane: plane.to_owned() };
            self.connections.get_or_create(&label).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Tells what was refused, by reason.
    pub(crate) fn count_refusals(&self, refusals: impl IntoIterator<Item = (String, u64)>) {
        self.refusals.clear();
        for (reason, count) in refusals {
            self.refusals.get_or_create(&ReasonLabel { reason }).inc_by(count);
        }
    }

    /// Tells what has become of questions for names.
    pub(crate) fn count_questions(&self, counts: impl IntoIterator<Item = (&'static str, u64)>) {
        for (outcome, count) in counts {
            self.questions.get_or_create(&OutcomeLabel { outcome }).set(count);
        }
    }

    /// Tells what the eBPF plane had no room for.
    pub(crate) fn count_overflow(&self, overflow: &Overflow) {
        for (map, count) in [("sockets", overflow.sockets), ("busy", overflow.busy)] {
            self.overflow.get_or_create(&MapLabel { map }).set(count);
        }
    }

    /// Counts a repair.
    pub(crate) fn repaired(&self, what: &'static str) {
        self.repairs.get_or_create(&RepairLabel { what }).inc();
    }

    /// Notes how long a reconciliation took.
    pub(crate) fn reconciled(&self, took: Duration) {
        self.reconcile.observe(took.as_secs_f64());
    }

    /// The text Prometheus reads (OpenMetrics).
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        if let Ok(registry) = self.registry.lock() {
            // Writing to a String cannot fail.
            let _written = encode(&mut text, &registry);
        }
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
