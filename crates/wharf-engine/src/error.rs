//! Why an engine could not be asked.

use std::path::PathBuf;
use std::time::Duration;

use wharf_spec::Engine;

/// What engines say goes into messages; a screen has room for this much of it.
const BRIEF: usize = 300;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a question to an engine has no answer, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens on its socket, or not for us.
    #[error(
        "{engine} is not running: cannot connect to {}: {source}; {}",
        .socket.display(), remedy(*.engine, source)
    )]
    NotRunning {
        /// Who was asked.
        engine: Engine,
        /// Its socket.
        socket: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// It has no such container.
    #[error("{engine} has no container {name:?}; `{engine} ps --all` lists those it has")]
    NoContainer {
        /// Who was asked.
        engine: Engine,
        /// The name or the beginning of the id.
        name: String,
    },
    /// It answered that it will not.
    #[error("{engine} refused ({status}): {message}")]
    Refused {
        /// Who was asked.
        engine: Engine,
        /// The HTTP status.
        status: u16,
        /// What it said, shortened.
        message: String,
    },
    /// It answered something else than its API says.
    #[error(
        "{engine} gave an answer that is not understood: {why}; \
         is the socket that of the Docker API (Docker 20.10, Podman 4.0 or later)?"
    )]
    NotUnderstood {
        /// Who was asked.
        engine: Engine,
        /// What is wrong with the answer.
        why: String,
    },
    /// The connection broke off, as it does when the engine ends.
    #[error("{engine} broke off the connection: {why}; its log says more")]
    Broken {
        /// Who was asked.
        engine: Engine,
        /// How.
        why: String,
    },
    /// It did not answer in time.
    #[error("{engine} gave no answer within {limit:?}; is it hanging? Its log says more")]
    Timeout {
        /// Who was asked.
        engine: Engine,
        /// How long was waited.
        limit: Duration,
    },
}

/// The beginning of a text of somebody else's, without what would confuse a terminal.
pub(crate) fn brief(text: &str) -> String {
    let mut short: String = text.chars().filter(|c| !c.is_control()).take(BRIEF).collect();
    if short.len() < text.trim_end().len() && short.chars().count() == BRIEF {
        short.push('…');
    }
    short
}

fn remedy(engine: Engine, source: &std::io::Error) -> &'static str {
    match (source.kind(), engine) {
        (std::io::ErrorKind::PermissionDenied, _) => "run as root",
        (_, Engine::Docker) => {
            "start it (`systemctl start docker`), or set WHARF_DOCKER_SOCKET to its socket"
        }
        (_, Engine::Podman) => {
            "start its API (`systemctl start podman.socket`), or set WHARF_PODMAN_SOCKET to its \
             socket"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_others_are_shortened_and_cleaned() {
        assert_eq!(brief("no such\u{1b}[2J container\n"), "no such[2J container");
        assert_eq!(brief(&"x".repeat(301)), "x".repeat(300) + "…");
    }

    #[test]
    fn who_is_not_running_is_told_with_the_remedy() {
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        let (engine, socket) = (Engine::Podman, "/run/podman/podman.sock".into());
        let text = Error::NotRunning { engine, socket, source }.to_string();
        assert!(text.starts_with("podman is not running: cannot connect to /run/podman/podman"));
        assert!(text.ends_with("or set WHARF_PODMAN_SOCKET to its socket"), "{text}");
    }
}
