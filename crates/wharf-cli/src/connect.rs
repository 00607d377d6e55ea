//! Finding the daemon, and starting it when it is needed.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use wharf_api::Client;
use wharf_api::client::{ClientError, Events, Output};
use wharf_daemon::paths::Paths;

/// How long a new daemon may take until it answers: it has to repair what a crash left, which is
/// quick, but the machine may be busy.
const START_LIMIT: Duration = Duration::from_secs(20);
const START_POLL: Duration = Duration::from_millis(10);

/// A conversation with the daemon of this state and run directory.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) paths: Paths,
    client: Client,
}

// === impl Session ===

impl Session {
    pub(crate) fn new() -> Self {
        let paths = Paths::from_env();
        let client = Client::new(paths.socket());
        Self { paths, client }
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        match self.client.get(path).await {
            // Asking again changes nothing, whether or not it was heard the first time.
            Err(error) if is_gone(&error) => {
                self.start_daemon(error).await?;
                self.client.get(path).await
            }
            other => other,
        }
    }

    pub(crate) async fn post<B, T>(&self, path: &str, body: &B) -> Result<T, ClientError>
    where
        B: Serialize + Sync,
        T: DeserializeOwned,
    {
        match self.client.post(path, body).await {
            Err(error) if is_absent(&error) => {
                self.start_daemon(error).await?;
                self.client.post(path, body).await
            }
            other => other,
        }
    }

    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        match self.client.delete(path).await {
            Err(error) if is_absent(&error) => {
                self.start_daemon(error).await?;
                self.client.delete(path).await
            }
            other => other,
        }
    }

    pub(crate) async fn output(&self, path: &str) -> Result<Output, ClientError> {
        self.ready().await?;
        self.client.output(path).await
    }

    pub(crate) async fn post_output<B: Serialize + Sync>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<Output, ClientError> {
        self.ready().await?;
        self.client.post_output(path, body).await
    }

    pub(crate) async fn events(&self) -> Result<Events, ClientError> {
        self.ready().await?;
        self.client.events("/v1/events").await
    }

    /// The client itself, once the daemon answers.
    pub(crate) async fn ready(&self) -> Result<&Client, ClientError> {
        let _version: wharf_api::Version = self.get("/v1/version").await?;
        Ok(&self.client)
    }

    /// The client itself, for a verb that must not start a daemon.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Starts a daemon and waits until it answers. One that was just killed keeps its socket and its
    /// lock for a moment, and ours gives way to it; then another one is started.
    async fn start_daemon(&self, absent: ClientError) -> Result<(), ClientError> {
        let deadline = tokio::time::Instant::now() + START_LIMIT;
        while tokio::time::Instant::now() < deadline {
            let started = wharf_daemon::start::in_background(&self.paths)
                .map_err(|e| ClientError::Transport(format!("cannot start the daemon: {e}")))?;
            if self.answers_before(deadline, || started.has_ended()).await? {
                return Ok(());
            }
        }
        Err(ClientError::Transport(format!(
            "the daemon did not start within {} s ({absent}); see {}",
            START_LIMIT.as_secs(),
            self.paths.daemon_log().display()
        )))
    }

    /// `false` when nobody answers and the daemon that was started `has_ended`.
    async fn answers_before(
        &self,
        deadline: tokio::time::Instant,
        has_ended: impl Fn() -> bool,
    ) -> Result<bool, ClientError> {
        while tokio::time::Instant::now() < deadline {
            // Whoever made it give way answers from now on, if anybody does.
            let ended = has_ended();
            match self.client.get::<wharf_api::Version>("/v1/version").await {
                Ok(_) => return Ok(true),
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
            if let Some(reason) = wharf_daemon::start::failure(&self.paths) {
                return Err(ClientError::Transport(format!("the daemon did not start: {reason}")));
            }
            tokio::time::sleep(START_POLL).await;
            if ended {
                return Ok(false);
            }
        }
        Ok(false)
    }
}

/// Whether nobody has heard of a request.
fn is_absent(error: &ClientError) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, NotFound};
    match error {
        ClientError::Connect { source, .. } => {
            matches!(source.kind(), NotFound | ConnectionRefused)
        }
        ClientError::Unheard => true,
        _ => false,
    }
}

/// Whether there is nobody to answer a question.
fn is_gone(error: &ClientError) -> bool {
    is_absent(error) || matches!(error, ClientError::Unanswered)
}
