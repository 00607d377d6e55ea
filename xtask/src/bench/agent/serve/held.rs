//! Connections that stay open, thousands of them, on one thread.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

const LISTENER: u64 = 0;
const BATCH: usize = 256;

struct Held {
    epoll: OwnedFd,
    listener: TcpListener,
    streams: BTreeMap<u64, TcpStream>,
    next: u64,
}

/// Accepts everything and echoes what little comes.
pub(crate) fn start(listener: TcpListener) -> Result<()> {
    let epoll = epoll::create(CreateFlags::CLOEXEC).context("create an epoll set")?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)
        .context("watch a listener")?;
    let mut held = Held { epoll, listener, streams: BTreeMap::new(), next: LISTENER + 1 };
    std::thread::spawn(move || held.run());
    Ok(())
}

// === impl Held ===

impl Held {
    fn run(&mut self) {
        let mut events = Vec::with_capacity(BATCH);
        loop {
            events.clear();
            let room = rustix::buffer::spare_capacity(&mut events);
            if epoll::wait(&self.epoll, room, None).is_err() {
                continue;
            }
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept(),
                    token => self.serve(token),
                }
            }
        }
    }

    fn accept(&mut self) {
        let Ok((stream, _)) = self.listener.accept() else { return };
        let token = EventData::new_u64(self.next);
        if epoll::add(&self.epoll, &stream, token, EventFlags::IN).is_ok() {
            self.streams.insert(self.next, stream);
            self.next += 1;
        }
    }

    fn serve(&mut self, token: u64) {
        let Some(stream) = self.streams.get_mut(&token) else { return };
        let mut buffer = [0; 64];
        let alive = match stream.read(&mut buffer) {
            Ok(0) | Err(_) => false,
            Ok(count) => stream.write_all(buffer.get(..count).unwrap_or_default()).is_ok(),
        };
        if !alive {
            self.streams.remove(&token);
        }
    }
}
