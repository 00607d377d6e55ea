//! A command in a container that clients attach to: its process holds its streams, so that it
//! outlives the daemon that asked for it.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::event::PollFlags;
use rustix::process::Signal;
use wharf_spec::frame::Frame;

use crate::error::{Context, Error, Result};
use crate::shim::client::Client;
use crate::shim::console::Ends;
use crate::shim::peer::Peer;
use crate::shim::streams::{self, Streams};
use crate::shim::wire::{Phase, Reply, Request, SocketDir, State, session_socket};
use crate::spec::ExecSession;

/// Whoever asked for the command is there already.
const CLIENT_LIMIT: Duration = Duration::from_secs(10);
const PEERS_LIMIT: usize = 32;

/// Where clients come in.
#[derive(Debug)]
pub(super) struct Door {
    listener: UnixListener,
    path: PathBuf,
    peers: Vec<Peer>,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Listener,
    Peer(usize),
}

/// What a command's loop waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Ended,
    Signal(usize),
    Door(Token),
    Stream(streams::Token),
}

// === impl Door ===

impl Door {
    /// Listens in `run_dir` for clients of the session.
    pub(super) fn open(run_dir: &Path, session: &ExecSession) -> Result<Self> {
        let what = || format!("listen in {}", run_dir.display());
        let name = session_socket(&session.id);
        let listener = SocketDir::open(run_dir).and_then(|dir| dir.listen(&name)).during(what)?;
        Ok(Self { listener, path: run_dir.join(name), peers: Vec::new() })
    }

    /// Waits for the first client.
    pub(super) fn first_client(&mut self) -> Result<Client> {
        let deadline = Instant::now() + CLIENT_LIMIT;
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            let ready =
                streams::poll(self.interests(), Some(left)).during(|| "wait for a client")?;
            let ready: Vec<Token> = ready.into_iter().map(|(token, _)| token).collect();
            if let Some(client) = self.serve(&ready, Phase::Created, 0).pop() {
                return Ok(client);
            }
        }
        let action = "run a command in the container".to_owned();
        Err(Error::Timeout { action, limit: CLIENT_LIMIT })
    }

    fn interests(&self) -> Vec<(Token, std::os::fd::BorrowedFd<'_>, PollFlags)> {
        let mut wanted = vec![(Token::Listener, self.listener.as_fd(), PollFlags::IN)];
        let peers = self.peers.iter().enumerate();
        wanted.extend(peers.map(|(index, peer)| (Token::Peer(index), peer.fd(), PollFlags::IN)));
        wanted
    }

    /// Those who have asked to be attached, where so many are `attached` already.
    fn serve(&mut self, ready: &[Token], phase: Phase, attached: usize) -> Vec<Client> {
        let state = State { phase, pid: None, started_at: None, exit: None };
        let mut clients = Vec::new();
        for token in ready {
            let Token::Peer(index) = token else { continue };
            let Some(peer) = self.peers.get_mut(*index) else { continue };
            for request in peer.requests() {
                let Request::Attach(wants) = request else {
                    peer.send(&Reply::State(state));
                    continue;
                };
                if let Err(error) = streams::admit_beside(attached + clients.len()) {
                    peer.send(&Reply::of(&error));
                    continue;
                }
                peer.send(&Reply::State(state));
                clients.extend(peer.take_stream().map(|stream| Client::new(stream, wants)));
            }
        }
        self.peers.retain(Peer::is_open);
        while let Ok((stream, _)) = self.listener.accept() {
            if self.peers.len() < PEERS_LIMIT {
                self.peers.extend(Peer::new(stream));
            }
        }
        clients
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _goes_with_its_directory = std::fs::remove_file(&self.path);
    }
}

/// Tells clients why there is no command, as the command would have.
pub(super) fn fail(clients: Vec<Client>, error: &Error) {
    let mut streams = Streams::of_command(nothing(), clients);
    let text = Bytes::from(format!("{error}\n"));
    streams.tell(&Frame::Stderr(text));
    streams.finish(error.exit_code().into());
}

fn nothing() -> Ends {
    Ends { input: None, outputs: Vec::new(), terminal: None }
}

/// Carries the command's streams until it has ended; `signals` are passed on to it.
pub(super) fn serve(
    door: &mut Door,
    streams: &mut Streams,
    pidfd: &OwnedFd,
    signals: &[(UnixStream, Signal)],
) -> Result<()> {
    loop {
        let mut wanted = vec![(Event::Ended, pidfd.as_fd(), PollFlags::IN)];
        let arriving = signals.iter().enumerate();
        wanted.extend(arriving.map(|(i, (it, _))| (Event::Signal(i), it.as_fd(), PollFlags::IN)));
        wanted.extend(door.interests().into_iter().map(|(t, fd, f)| (Event::Door(t), fd, f)));
        wanted.extend(streams.interests().into_iter().map(|(t, fd, f)| (Event::Stream(t), fd, f)));
        let ready = streams::poll(wanted, streams.timeout()).during(|| "wait for the command")?;
        let (mut at_door, mut of_streams) = (Vec::new(), Vec::new());
        let mut ended = false;
        for (event, flags) in ready {
            match event {
                Event::Ended => ended = true,
                Event::Door(token) => at_door.push(token),
                Event::Stream(token) => of_streams.push((token, flags)),
                Event::Signal(index) => {
                    if let Some((stream, signal)) = signals.get(index) {
                        super::exec::forward(stream, *signal, pidfd);
                    }
                }
            }
        }
        streams.serve(&of_streams);
        for client in door.serve(&at_door, Phase::Running, streams.attached()) {
            streams.admit(client);
        }
        if ended {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};

    use super::*;
    use crate::shim::wire::Attach;

    #[test]
    fn a_command_has_room_for_many_clients_and_not_for_any_number() {
        let dir = tempfile::tempdir().unwrap();
        let session = ExecSession { id: "0".into(), ..ExecSession::default() };
        let mut door = Door::open(dir.path(), &session).unwrap();
        let mut attached = Vec::new();
        let line = serde_json::to_vec(&Request::Attach(Attach::default())).unwrap();
        let refusal = loop {
            let mut client = UnixStream::connect(dir.path().join(session_socket("0"))).unwrap();
            client.write_all(&[&line[..], b"\n"].concat()).unwrap();
            for token in [Token::Listener, Token::Peer(0)] {
                attached.extend(door.serve(&[token], Phase::Running, attached.len()));
            }
            let mut answer = String::new();
            BufReader::new(client).read_line(&mut answer).unwrap();
            if let Reply::Error { message, .. } = serde_json::from_str(&answer).unwrap() {
                break message;
            }
            assert!(attached.len() < 100);
        };
        assert!(refusal.starts_with("32 clients are attached already"), "{refusal}");
        assert_eq!(attached.len(), 32);
    }
}
