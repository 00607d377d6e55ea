//! What a container can be told at creation, in groups.

pub mod names;
pub mod resources;
pub mod security;
pub mod storage;
pub mod supervision;
pub mod terminal;

pub use names::Names;
pub use resources::{ContainerUpdate, Resources, Updated};
pub use security::Security;
pub use storage::Storage;
pub use supervision::{HealthCheck, Supervision};
pub use terminal::Terminal;
