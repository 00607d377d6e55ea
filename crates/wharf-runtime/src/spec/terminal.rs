//! What a shim is told of its terminal and its standard input.

use serde::{Deserialize, Serialize};
use wharf_spec::frame::TerminalSize;

use crate::log::Limits;

/// What a container's shim is told of its terminal, its standard input and its log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Terminal {
    /// Standard input is open; otherwise it is empty.
    pub stdin: bool,
    /// Standard input ends when the client that feeds it says so.
    pub stdin_once: bool,
    /// The three streams are a terminal.
    pub tty: bool,
    /// How much the log may hold.
    pub log: Limits,
}

/// What a command in a container is told when clients attach to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecSession {
    /// What it is called; see [`crate::client::exec_session`].
    pub id: String,
    /// Standard input comes from clients.
    pub stdin: bool,
    /// The three streams are a terminal.
    pub tty: bool,
    /// The terminal's size.
    pub size: Option<TerminalSize>,
    /// Begin only when a client has attached.
    pub awaits_client: bool,
}
