//! The Wharf daemon: ledger, store, planes and HTTP API.
//!
//! [`run`] is the body of `wharf daemon`. Everything it owns lies under two directories
//! ([`paths::Paths`]), and nothing it does leaves its network namespace, so that several can run
//! side by side. It can be killed at any moment: containers and published ports go on without it,
//! and the next one finds its way from the ledger and the host (module `recover`).

mod attach;
mod ballast;
pub mod clock;
mod config;
mod connect;
mod copy;
mod crash;
mod create;
mod daemon;
mod describe;
mod disk_usage;
mod doctor;
mod error;
mod events;
mod exec;
mod explain;
mod files;
mod firewalls;
mod flows;
mod health;
pub mod http;
mod images;
mod ledger;
mod lifecycle;
mod listening;
mod lock;
mod logs;
mod metrics;
mod mounts;
mod names;
mod naming;
mod networks;
pub mod paths;
mod pause;
mod planes;
mod privileges;
mod prune;
mod publications;
mod publish;
mod pull;
mod record;
mod recover;
mod removal;
mod reservation;
mod resolve;
mod resources;
mod restart;
mod serve;
pub mod start;
mod starting;
mod stats;
mod store;
mod terminal;
mod upkeep;
mod volumes;
mod watch;

pub use config::Config;
pub use crash::{
    CHANGE_STEPS as CRASH_CHANGE_STEPS, END_STEPS as CRASH_END_STEPS, STEPS as CRASH_STEPS,
};
pub use error::{Error, Result};
pub use serve::run;
