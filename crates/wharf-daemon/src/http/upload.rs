//! Bodies that are streams of bytes: archives on their way in.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use tokio::io::AsyncWriteExt;

use super::{Answer, blocking};
use crate::daemon::Daemon;
use crate::error::Result;

/// A client that sends nothing for this long has lost interest.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// What is on its way between the socket and the thread that reads.
const ON_THE_WAY: usize = 1 << 20;
/// How long what nobody wants any more is read away, so that the answer arrives: a unix socket that is
/// closed with something unread in it is reset, and the answer goes with it.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// Does `work` with the body of a request.
pub(super) async fn read<T, F>(daemon: Arc<Daemon>, body: Body, work: F) -> Answer<T>
where
    T: Send + 'static,
    F: FnOnce(&Arc<Daemon>, &mut dyn Read) -> Result<T> + Send + 'static,
{
    let (reader, mut writer) = tokio::io::duplex(ON_THE_WAY);
    let mut feed = tokio::spawn(async move {
        let mut stream = body.into_data_stream();
        let mut wanted = true;
        loop {
            let next = futures_util::StreamExt::next(&mut stream);
            let Some(piece) = tokio::time::timeout(IDLE_LIMIT, next).await? else { break };
            let piece = piece.map_err(io::Error::other)?;
            wanted = wanted && writer.write_all(&piece).await.is_ok();
        }
        writer.shutdown().await
    });
    let handle = tokio::runtime::Handle::current();
    let mut reader = tokio_util::io::SyncIoBridge::new_with_handle(reader, handle);
    let done = blocking(daemon, move |daemon| work(daemon, &mut reader)).await;
    if tokio::time::timeout(DRAIN_LIMIT, &mut feed).await.is_err() {
        feed.abort();
    }
    done.map(Json)
}
