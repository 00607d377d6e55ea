//! How a verb ends.

use std::process::ExitCode;

use wharf_api::client::ClientError;

/// What a verb comes to.
pub(crate) type Outcome = Result<ExitCode, Exit>;

/// A failure: what to say and which exit code to end with.
#[derive(Debug)]
pub(crate) struct Exit {
    message: String,
    code: u8,
    refused: bool,
}

// === impl Exit ===

impl Exit {
    /// Our own failure at `run`, `create` or `exec` (Docker's code for it).
    pub(crate) const RUN_FAILED: u8 = 125;

    /// A failure with exit code 1.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1, refused: false }
    }

    /// A failure of `run`, `create` or `exec` itself.
    pub(crate) fn at_run(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: Self::RUN_FAILED, refused: false }
    }

    /// An error of the daemon at `run` or `exec`: 126 and 127 where it says so, otherwise 125.
    pub(crate) fn from_run(error: ClientError) -> Self {
        let code = match &error {
            ClientError::Api(api) => api.exit_code.unwrap_or(Self::RUN_FAILED),
            _ => Self::RUN_FAILED,
        };
        let refused = code == Self::RUN_FAILED && matches!(&error, ClientError::Api(_));
        Self { message: error.to_string(), code, refused }
    }

    /// The same failure, on the way of `run` or `create`.
    pub(crate) fn into_run(self) -> Self {
        Self { code: Self::RUN_FAILED, ..self }
    }

    /// Whether the daemon refused what was asked, for another reason than the container's command.
    pub(crate) fn is_refusal(&self) -> bool {
        self.refused
    }

    /// Prints the message and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        if !self.message.is_empty() {
            eprintln!("wharf: {}", self.message);
        }
        ExitCode::from(self.code)
    }
}

impl From<ClientError> for Exit {
    fn from(error: ClientError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<std::io::Error> for Exit {
    /// A reader that has seen enough (`wharf ps | head -1`) is no failure.
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => {
                Self { message: String::new(), code: 0, refused: false }
            }
            _ => Self::failed(format!("writing output: {error}")),
        }
    }
}

impl From<serde_json::Error> for Exit {
    fn from(error: serde_json::Error) -> Self {
        if error.io_error_kind() == Some(std::io::ErrorKind::BrokenPipe) {
            return Self { message: String::new(), code: 0, refused: false };
        }
        Self::failed(format!("writing JSON: {error}"))
    }
}

/// Does `action` for each name, goes on after failures, and fails at the end if any failed.
pub(crate) async fn for_each<F, Fut>(names: &[String], action: F) -> Outcome
where
    F: Fn(String) -> Fut,
    Fut: Future<Output = Result<String, Exit>>,
{
    let mut code = ExitCode::SUCCESS;
    for name in names {
        if name.is_empty() {
            code = Exit::failed("a name is empty: is a variable of the script not set?").report();
            continue;
        }
        match action(name.clone()).await {
            Ok(line) if line.is_empty() => {}
            Ok(line) => print_line(&line)?,
            Err(exit) => code = exit.report(),
        }
    }
    Ok(code)
}

/// Prints a line to standard output; a closed pipe ends the program quietly.
pub(crate) fn print_line(line: &str) -> Result<(), Exit> {
    use std::io::Write;
    writeln!(std::io::stdout().lock(), "{line}").map_err(Exit::from)
}
