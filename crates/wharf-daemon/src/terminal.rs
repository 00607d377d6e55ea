//! What a request says of terminal, standard input and log, as the shim is told it.

use serde_json::{Value, json};
use wharf_api::options::Terminal;
use wharf_runtime::log::Limits;
use wharf_runtime::spec;
use wharf_spec::frame::TerminalSize;

use crate::error::{Error, Result};

const LOG_DRIVER: &str = "json-file";
/// What Docker sets where there is a terminal and nobody said of which kind.
const TERM: &str = "TERM=xterm";

/// What the shim is told.
///
/// # Errors
/// The log cannot be had as it is asked for.
pub(crate) fn spec(asked: &Terminal) -> Result<spec::Terminal> {
    if let Some(driver) = asked.log_driver.as_deref().filter(|driver| *driver != LOG_DRIVER) {
        return Err(Error::Invalid(format!(
            "log driver {driver:?} is not available: use {LOG_DRIVER:?}, which is the only one, or leave it out"
        )));
    }
    let log = Limits::parse(&asked.log_options).map_err(|e| Error::Invalid(e.to_string()))?;
    Ok(spec::Terminal {
        stdin: asked.stdin,
        stdin_once: asked.stdin && asked.stdin_once,
        tty: asked.tty,
        log,
    })
}

/// `env` with the kind of terminal, if there is one and its kind is not set.
pub(crate) fn with_term(mut env: Vec<String>, tty: bool) -> Vec<String> {
    if tty && !env.iter().any(|variable| variable.starts_with("TERM=")) {
        env.push(TERM.to_owned());
    }
    env
}

/// A size that was told; none when it is not known.
pub(crate) fn size(rows: u16, columns: u16) -> Option<TerminalSize> {
    (rows > 0 && columns > 0).then_some(TerminalSize { rows, columns })
}

/// The log's limits, as Docker shows them.
pub(crate) fn log_config(told: &spec::Terminal) -> Value {
    let size = told.log.max_size.map_or_else(|| "-1".to_owned(), |bytes| bytes.to_string());
    json!({
        "Type": LOG_DRIVER,
        "Config": {"max-size": size, "max-file": told.log.max_files.to_string()},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_log_driver_is_refused_with_what_there_is() {
        let asked = Terminal { log_driver: Some("syslog".into()), ..Terminal::default() };
        let text = spec(&asked).unwrap_err().to_string();
        assert!(text.contains("syslog") && text.contains("json-file"), "{text}");
        let asked = Terminal { log_driver: Some("json-file".into()), ..Terminal::default() };
        assert_eq!(spec(&asked).unwrap(), spec::Terminal::default());
    }

    #[test]
    fn the_kind_of_terminal_is_set_where_there_is_one_and_it_is_not_known() {
        let with = |env: &[&str], tty| with_term(env.iter().map(|&e| e.to_owned()).collect(), tty);
        assert_eq!(with(&["A=1"], true), ["A=1", "TERM=xterm"]);
        assert_eq!(with(&["TERM=vt100"], true), ["TERM=vt100"]);
        assert_eq!(with(&["A=1"], false), ["A=1"]);
    }
}
