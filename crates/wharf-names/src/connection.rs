//! Questions over a connection: each with its length before it (RFC 1035, section 4.2.2).

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::answer::{Reply, Transport};
use crate::server::Desk;

/// Whoever asks nothing for so long may connect again (RFC 7766 advises seconds).
const IDLE: Duration = Duration::from_secs(10);
/// An answer of 64 KiB over loopback.
const SENDING: Duration = Duration::from_secs(5);
/// What a question may have; answers may have as much as their length can say.
const QUESTION_LIMIT: usize = 4_096;

/// Answers one question after the other until there are no more.
pub(crate) async fn serve(desk: &Desk, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    while let Ok(Ok(question)) = timeout(IDLE, read(&mut stream, QUESTION_LIMIT)).await {
        let answer = match desk.reply(&question, Transport::Tcp) {
            Reply::Answer(answer) => Some(answer),
            Reply::Forward => desk.forward(&question, Transport::Tcp).await,
            Reply::Ignore => None,
        };
        let Some(answer) = answer else { return };
        if !matches!(timeout(SENDING, write(&mut stream, &answer)).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// One message of at most `limit` bytes.
pub(crate) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > limit {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// One message, in one piece: some clients read the length and the rest as they come.
pub(crate) async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &[u8],
) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    stream.write_all(&framed).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_are_framed_and_long_ones_are_not_read() {
        let (mut here, mut there) = tokio::io::duplex(1 << 17);
        write(&mut here, b"question").await.unwrap();
        assert_eq!(read(&mut there, 8).await.unwrap(), b"question");
        write(&mut here, &[7; 65_535]).await.unwrap();
        assert_eq!(read(&mut there, 65_535).await.unwrap().len(), 65_535);
        write(&mut here, &[7; 9]).await.unwrap();
        assert!(read(&mut there, 8).await.is_err());
        assert!(write(&mut here, &[7; 65_536]).await.is_err());
    }
}
