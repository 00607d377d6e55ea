//! Flags of `run` and `create`, in groups.

mod names;
mod resources;
mod security;
mod storage;
mod supervision;
mod terminal;

pub(crate) use names::NamesOptions;
pub(crate) use resources::{LimitOptions, ResourcesOptions};
pub(crate) use security::SecurityOptions;
pub(crate) use storage::StorageOptions;
pub(crate) use supervision::SupervisionOptions;
pub(crate) use terminal::TerminalOptions;
