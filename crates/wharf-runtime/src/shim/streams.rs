//! A container's standard streams with everybody at their other end: the log, and clients that are
//! attached.
//!
//! What waits for anybody is bounded. A client that takes its output slowly slows the container
//! down, as a pipe would, because output is not to be lost between the two; the log never does.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use wharf_spec::frame::{Frame, TerminalSize};

use crate::error::{Error, Result};
use crate::shim::client::Client;
use crate::shim::console::{Ends, Terminal};
use crate::shim::input::{self, Input};
use crate::shim::output::Output;
use crate::spec;

/// People do not look at one container from more places.
const CLIENTS_LIMIT: usize = 32;
/// A terminal that takes nothing for so long is let go: nothing is lost with it, as the log has
/// everything.
const STALL_LIMIT: Duration = Duration::from_secs(60);
/// After the container's last process is gone its pipes hold what is left and then end; a process
/// elsewhere that got hold of one must not keep the shim.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);
/// After the end, a client has this long to take the next piece of what is left.
const FLUSH_LIMIT: Duration = Duration::from_secs(10);

/// The streams of one container or command.
#[derive(Debug)]
pub(super) struct Streams {
    output: Output,
    input: Option<Input>,
    clients: Vec<Client>,
    terminal: Option<Terminal>,
    stalling: Stalling,
    /// A command has no log: what its clients have not taken at its end waits for them.
    is_command: bool,
    /// How many bytes clients have taken.
    taken: u64,
}

/// What becomes of a client that takes nothing for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stalling {
    Waited,
    LetGo,
}

/// Something of the streams that can be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Output,
    Input,
    Client(usize),
}

/// What is waited for.
pub(super) type Interest<'a> = (Token, BorrowedFd<'a>, PollFlags);

/// Whether one more client may come where so many are `attached`.
pub(super) fn admit_beside(attached: usize) -> Result<()> {
    if attached < CLIENTS_LIMIT {
        return Ok(());
    }
    Err(Error::Spec(format!(
        "{CLIENTS_LIMIT} clients are attached already: detach one, or use `wharf logs -f`"
    )))
}

// === impl Streams ===

impl Streams {
    /// Those of a container, with its log in `dir`.
    pub(super) fn of_container(ends: Ends, told: &spec::Terminal, dir: &Path) -> Result<Self> {
        let output = Output::open(dir, told.log, ends.outputs)?;
        let ends_with = match told {
            spec::Terminal { stdin_once: true, tty: false, .. } => input::Ends::WithClient,
            _ => input::Ends::Never,
        };
        let input = ends.input.map(|fd| Input::new(fd, ends_with));
        let stalling = if told.tty { Stalling::LetGo } else { Stalling::Waited };
        let terminal = ends.terminal;
        let clients = Vec::new();
        Ok(Self { output, input, clients, terminal, stalling, is_command: false, taken: 0 })
    }

    /// Those of a command in a container, which has no log.
    pub(super) fn of_command(ends: Ends, clients: Vec<Client>) -> Self {
        let ends_with = match ends.terminal {
            None => input::Ends::WithClient,
            Some(_) => input::Ends::Never,
        };
        Self {
            output: Output::without_log(ends.outputs),
            input: ends.input.map(|fd| Input::new(fd, ends_with)),
            clients,
            terminal: ends.terminal,
            stalling: Stalling::Waited,
            is_command: true,
            taken: 0,
        }
    }

    /// Takes a client that has been told that it is attached.
    pub(super) fn admit(&mut self, client: Client) {
        if let Some(size) = client.wants.size {
            self.resize(size);
        }
        self.clients.push(client);
    }

    /// Sends every client a frame.
    pub(super) fn tell(&mut self, frame: &Frame) {
        let frame = frame.encode();
        for client in &mut self.clients {
            client.push(frame.clone());
        }
    }

    /// Whether one more client can be attached.
    pub(super) fn admits(&self) -> Result<()> {
        admit_beside(self.clients.len())
    }

    /// How many clients there are.
    pub(super) fn attached(&self) -> usize {
        self.clients.len()
    }

    /// What to wait for.
    pub(super) fn interests(&self) -> Vec<Interest<'_>> {
        let mut wanted = Vec::new();
        if !self.is_held_up() {
            wanted.extend(self.output.fds().map(|fd| (Token::Output, fd, PollFlags::IN)));
        }
        let writing = self.input.as_ref().and_then(Input::waits_for);
        wanted.extend(writing.map(|fd| (Token::Input, fd, PollFlags::OUT)));
        let listening = self.listens();
        for (index, client) in self.clients.iter().enumerate() {
            let waits_for = client.waits_for(listening);
            wanted.extend(waits_for.map(|(fd, flags)| (Token::Client(index), fd, flags)));
        }
        wanted
    }

    /// How long to wait at most.
    pub(super) fn timeout(&self) -> Option<Duration> {
        let now = Instant::now();
        let stalls = self.clients.iter().filter_map(|client| client.stalls_at(STALL_LIMIT)).min();
        let stalls = stalls.filter(|_| self.stalling == Stalling::LetGo);
        let stalls = stalls.map(|at| at.saturating_duration_since(now));
        self.output.timeout().into_iter().chain(stalls).min()
    }

    /// Does what has become possible.
    pub(super) fn serve(&mut self, ready: &[(Token, PollFlags)]) {
        if ready.iter().any(|(token, _)| *token == Token::Output) && !self.is_held_up() {
            self.output.read(&mut self.clients);
        }
        self.output.flush_due();
        if let Some(input) = &mut self.input {
            input.write();
        }
        for (token, flags) in ready {
            if let Token::Client(index) = token
                && let Some(client) = self.clients.get_mut(*index)
            {
                let written = client.write();
                self.taken = self.taken.wrapping_add(written.try_into().unwrap_or(0));
                if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                    client.read();
                }
            }
        }
        self.hear();
        self.let_go();
    }

    fn resize(&self, size: TerminalSize) {
        if let Some(terminal) = &self.terminal {
            terminal.resize(size);
        }
    }

    /// Somebody has not taken what was written so far.
    fn is_held_up(&self) -> bool {
        self.clients.iter().any(Client::is_full)
    }

    fn listens(&self) -> bool {
        !self.input.as_ref().is_some_and(Input::is_full)
    }

    /// Does what clients have asked for, as far as standard input takes it.
    fn hear(&mut self) {
        let mut clients = std::mem::take(&mut self.clients);
        for client in &mut clients {
            while self.listens()
                && let Some(frame) = client.next()
            {
                self.obey(client, frame);
            }
        }
        self.clients = clients;
    }

    fn obey(&mut self, client: &mut Client, frame: Frame) {
        let input = self.input.as_mut().filter(|_| client.wants.stdin);
        match (frame, input) {
            (Frame::Stdin(bytes), Some(input)) => input.push(bytes),
            (Frame::StdinEnd, Some(input)) => input.end(),
            (Frame::Resize(size), _) => self.resize(size),
            (Frame::Stdin(_) | Frame::StdinEnd, None) => {}
            // The others are ours to send.
            _ => client.leave(),
        }
    }

    fn let_go(&mut self) {
        let now = Instant::now();
        let lets_go = self.stalling == Stalling::LetGo;
        let stalls = |it: &Client| it.stalls_at(STALL_LIMIT).is_some_and(|at| at <= now);
        self.clients.retain(|client| !(client.is_gone() || lets_go && stalls(client)));
    }

    /// Reads to the end, or for as long as that may take, tells clients how it ended, and gives
    /// them time to take it all.
    pub(super) fn finish(&mut self, code: i32) {
        // Nobody is left who could open it again: now its end shows.
        self.terminal = None;
        self.run_while(DRAIN_LIMIT, |streams| !streams.output.has_ended());
        self.output.close(&mut self.clients);
        self.tell(&Frame::Exit(code));
        self.run_while(FLUSH_LIMIT, |it| !it.clients.iter().all(Client::is_served));
    }

    /// Goes on while `unfinished`, until nothing is taken for `limit`.
    fn run_while(&mut self, limit: Duration, unfinished: impl Fn(&Self) -> bool) {
        let mut deadline = Instant::now() + limit;
        while unfinished(self) && Instant::now() < deadline {
            let before = self.taken;
            let left = deadline.saturating_duration_since(Instant::now());
            let ready = poll(self.interests(), Some(left.min(self.timeout().unwrap_or(left))));
            self.serve(&ready.unwrap_or_default());
            let waits = self.is_command && (self.is_held_up() || self.output.has_ended());
            if self.taken != before || waits {
                deadline = Instant::now() + limit.max(FLUSH_LIMIT);
            }
        }
    }
}

/// Waits; gives what has happened.
pub(super) fn poll<T: Copy>(
    interests: Vec<(T, BorrowedFd<'_>, PollFlags)>,
    limit: Option<Duration>,
) -> Result<Vec<(T, PollFlags)>, rustix::io::Errno> {
    let limit = limit.and_then(|left| Timespec::try_from(left).ok());
    let mut fds: Vec<_> =
        interests.iter().map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
    match rustix::event::poll(&mut fds, limit.as_ref()) {
        Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
        result => result?,
    };
    let happened = interests.iter().zip(&fds).map(|((token, ..), fd)| (*token, fd.revents()));
    Ok(happened.filter(|(_, flags)| !flags.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use bytes::{Bytes, BytesMut};

    use super::*;
    use crate::log::Stream;
    use crate::shim::wire::Attach;

    /// Streams of a command, with the command's ends and one client's.
    struct Scene {
        streams: Streams,
        stdin: OwnedFd,
        stdout: OwnedFd,
        client: UnixStream,
    }

    fn pipe() -> (OwnedFd, OwnedFd) {
        rustix::pipe::pipe().unwrap()
    }

    fn scene() -> Scene {
        let ((stdin, input), (output, stdout)) = (pipe(), pipe());
        for end in [&input, &output] {
            rustix::io::ioctl_fionbio(end, true).unwrap();
        }
        let outputs = vec![(output, Stream::Stdout)];
        let ends = Ends { input: Some(input), outputs, terminal: None };
        let (client, stream) = UnixStream::pair().unwrap();
        stream.set_nonblocking(true).unwrap();
        let wants = Attach { stdin: true, stdout: true, stderr: true, size: None };
        let streams = Streams::of_command(ends, vec![Client::new(stream, wants)]);
        Scene { streams, stdin, stdout, client }
    }

    impl Scene {
        fn serve_for(&mut self, limit: Duration) {
            let deadline = Instant::now() + limit;
            while let Some(left) = deadline.checked_duration_since(Instant::now()) {
                let ready = poll(self.streams.interests(), Some(left)).unwrap();
                self.streams.serve(&ready);
            }
        }

        fn serve_until(&mut self, what: impl Fn(&Streams) -> bool) {
            let deadline = Instant::now() + Duration::from_secs(10);
            while !what(&self.streams) {
                assert!(Instant::now() < deadline, "it does not happen");
                self.serve_for(Duration::from_millis(20));
            }
        }
    }

    fn frames(mut from: UnixStream) -> Vec<Frame> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        let mut buffer = BytesMut::from(&bytes[..]);
        std::iter::from_fn(|| Frame::decode(&mut buffer).unwrap()).collect()
    }

    #[test]
    fn a_client_that_does_not_read_holds_the_program_up_and_loses_nothing() {
        let Scene { streams, stdin, stdout, client } = scene();
        let wanted: Vec<u8> = (0..4 << 20).map(|index: u32| index.to_le_bytes()[1]).collect();
        let written = wanted.clone();
        let program = std::thread::spawn(move || {
            std::fs::File::from(stdout).write_all(&written).unwrap();
        });
        let mut scene = Scene { streams, stdin, stdout: pipe().1, client };
        scene.serve_until(Streams::is_held_up);
        assert!(!program.is_finished());

        let client = scene.client.try_clone().unwrap();
        let reading = std::thread::spawn(move || frames(client));
        scene.streams.finish(7);
        drop(scene);
        program.join().unwrap();
        let mut frames = reading.join().unwrap();
        assert_eq!(frames.pop(), Some(Frame::Exit(7)));
        let shown = frames.into_iter().flat_map(|frame| match frame {
            Frame::Stdout(bytes) => bytes,
            other => panic!("{other:?}"),
        });
        assert!(shown.eq(wanted));
    }

    #[test]
    fn input_arrives_whole_and_ends_although_its_client_is_gone() {
        let mut scene = scene();
        let sent = vec![5; 300 << 10];
        let copy = sent.clone();
        let mut client = std::mem::replace(&mut scene.client, UnixStream::pair().unwrap().0);
        let feeding = std::thread::spawn(move || {
            for piece in copy.chunks(10_000) {
                client.write_all(&Frame::Stdin(Bytes::copy_from_slice(piece)).encode()).unwrap();
            }
            client.write_all(&Frame::StdinEnd.encode()).unwrap();
        });
        let stdin = std::mem::replace(&mut scene.stdin, pipe().0);
        scene.serve_for(Duration::from_millis(100));
        let reading = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            std::fs::File::from(stdin).read_to_end(&mut bytes).unwrap();
            bytes
        });
        while !reading.is_finished() {
            scene.serve_for(Duration::from_millis(20));
        }
        feeding.join().unwrap();
        assert!(reading.join().unwrap() == sent);
    }

    #[test]
    fn who_leaves_or_talks_nonsense_is_forgotten() {
        for bytes in [&Frame::Leave.encode()[..], &Frame::Exit(1).encode(), &[9; 5]] {
            let mut scene = scene();
            scene.client.write_all(bytes).unwrap();
            scene.serve_until(|streams| streams.clients.is_empty());
        }
    }

    #[test]
    fn there_is_room_for_many_clients_and_not_for_any_number() {
        let mut scene = scene();
        while scene.streams.admits().is_ok() {
            let stream = UnixStream::pair().unwrap().0;
            scene.streams.admit(Client::new(stream, Attach::default()));
        }
        let text = scene.streams.admits().unwrap_err().to_string();
        assert!(text.starts_with("32 clients are attached already"), "{text}");
    }
}
