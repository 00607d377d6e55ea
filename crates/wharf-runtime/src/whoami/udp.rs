//! The same over UDP: a datagram in, one JSON datagram out, from the address it was sent to.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use serde_json::json;

use crate::whoami::{hostname, plain};

/// The largest datagram there is.
const DATAGRAM: usize = 65_536;
/// A socket error that stays would otherwise spin.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// A UDP server.
#[derive(Debug)]
pub(super) struct Server {
    socket: UdpSocket,
}

/// The address a datagram was sent to: a reply must come from there.
#[derive(Debug, Clone, Copy)]
enum Local {
    V4(nix::libc::in_pktinfo),
    V6(nix::libc::in6_pktinfo),
}

// === impl Server ===

impl Server {
    /// Both families on one socket, or IPv4 alone where there is no other.
    pub(super) fn bind(port: u16) -> io::Result<Self> {
        if let Ok(socket) = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)) {
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            return Ok(Self { socket });
        }
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        Ok(Self { socket })
    }

    pub(super) fn run(&self) {
        let mut buffer = vec![0; DATAGRAM];
        loop {
            // Errors here are answers to earlier replies (a closed port, say), or pass.
            if self.one(&mut buffer).is_err() {
                std::thread::sleep(ERROR_PAUSE);
            }
        }
    }

    fn one(&self, buffer: &mut [u8]) -> io::Result<()> {
        let (size, peer, local) = self.receive(buffer)?;
        let Some(peer_address) = socket_address(&peer) else { return Ok(()) };
        let value = json!({
            "hostname": hostname(),
            "remoteAddr": plain(peer_address).to_string(),
            "size": size,
        });
        let text = value.to_string();
        let control = match &local {
            Some(Local::V4(info)) => Some(ControlMessage::Ipv4PacketInfo(info)),
            Some(Local::V6(info)) => Some(ControlMessage::Ipv6PacketInfo(info)),
            None => None,
        };
        let parts = [IoSlice::new(text.as_bytes())];
        let control = control.as_slice();
        sendmsg(self.socket.as_raw_fd(), &parts, control, MsgFlags::empty(), Some(&peer))?;
        Ok(())
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SockaddrStorage, Option<Local>)> {
        let mut control = nix::cmsg_space!(nix::libc::in6_pktinfo, nix::libc::in_pktinfo);
        let mut parts = [IoSliceMut::new(buffer)];
        let message = recvmsg::<SockaddrStorage>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::empty(),
        )?;
        let local = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::Ipv4PacketInfo(info) => Some(Local::V4(reply_from_v4(info))),
            ControlMessageOwned::Ipv6PacketInfo(info) => Some(Local::V6(reply_from_v6(info))),
            _ => None,
        });
        let peer = message.address.ok_or_else(|| io::Error::other("a datagram from nowhere"))?;
        Ok((message.bytes, peer, local))
    }
}

fn reply_from_v4(mut info: nix::libc::in_pktinfo) -> nix::libc::in_pktinfo {
    // Not bound to the interface: the way back is the routing table's business.
    info.ipi_ifindex = 0;
    info
}

fn reply_from_v6(mut info: nix::libc::in6_pktinfo) -> nix::libc::in6_pktinfo {
    let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
    if !address.is_unicast_link_local() {
        info.ipi6_ifindex = 0;
    }
    info
}

fn socket_address(peer: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = peer.as_sockaddr_in().map(|a| SocketAddrV4::from(*a).into());
    v4.or_else(|| peer.as_sockaddr_in6().map(|a| SocketAddrV6::from(*a).into()))
}
