//! What a host can do and what gets in the way, as `wharf doctor` tells it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// What was looked at: `nft`, `table`, `conntrack`, `forwarding`, `firewall`, …
    pub check: String,
    /// `ok`, `note` for what is worth knowing, or `problem`.
    pub status: String,
    /// What was found.
    pub text: String,
    /// What that does to published ports, unless it is `ok`.
    pub effect: Option<String>,
    /// What to do about it: commands or advice, one each.
    pub remedy: Vec<String>,
}
