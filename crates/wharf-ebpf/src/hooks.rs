//! The programs, where they are attached, and the links that keep them there.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use aya::programs::links::FdLink;
use aya::programs::{
    CgroupAttachMode, CgroupSock, CgroupSockAddr, CgroupSockAddrAttachType, CgroupSockAttachType,
    SkLookup, SockOps,
};
use wharf_host::bpf;
use wharf_host::netns::Netns;

use crate::error::{Error, Result, Source};

/// What a link needs: aya passes the mode on as flags of the link, of which the kernel takes none;
/// any number of links may be at one place all the same.
const MODE: CgroupAttachMode = CgroupAttachMode::Single;

/// What a program is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Leading clients on the host to targets, and knowing when their sockets are closed.
    Leading,
    /// One socket for many ports, and keeping others off them.
    Steering,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Address(CgroupSockAddrAttachType),
    Socket(CgroupSockAttachType),
    Events,
    Lookup,
}

/// One program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hook {
    pub(crate) name: &'static str,
    pub(crate) purpose: Purpose,
    kind: Kind,
}

/// Where programs and their links are pinned, and what they are attached to.
#[derive(Debug)]
pub(crate) struct Hooks {
    programs: PathBuf,
    links: PathBuf,
    cgroup: File,
    netns: Netns,
}

/// In the order in which they are attached: what undoes or guards comes before what does.
pub(crate) const HOOKS: [Hook; 15] = [
    leading("sock_release", Kind::Socket(CgroupSockAttachType::SockRelease)),
    leading("getpeername4", Kind::Address(CgroupSockAddrAttachType::GetPeerName4)),
    leading("getpeername6", Kind::Address(CgroupSockAddrAttachType::GetPeerName6)),
    leading("recvmsg4", Kind::Address(CgroupSockAddrAttachType::UDPRecvMsg4)),
    leading("recvmsg6", Kind::Address(CgroupSockAddrAttachType::UDPRecvMsg6)),
    leading("connect4", Kind::Address(CgroupSockAddrAttachType::Connect4)),
    leading("connect6", Kind::Address(CgroupSockAddrAttachType::Connect6)),
    leading("sendmsg4", Kind::Address(CgroupSockAddrAttachType::UDPSendMsg4)),
    leading("sendmsg6", Kind::Address(CgroupSockAddrAttachType::UDPSendMsg6)),
    steering("bind4", Kind::Address(CgroupSockAddrAttachType::Bind4)),
    steering("bind6", Kind::Address(CgroupSockAddrAttachType::Bind6)),
    steering("post_bind4", Kind::Socket(CgroupSockAttachType::PostBind4)),
    steering("post_bind6", Kind::Socket(CgroupSockAttachType::PostBind6)),
    steering("listens", Kind::Events),
    steering("steer", Kind::Lookup),
];

const fn leading(name: &'static str, kind: Kind) -> Hook {
    Hook { name, purpose: Purpose::Leading, kind }
}

const fn steering(name: &'static str, kind: Kind) -> Hook {
    Hook { name, purpose: Purpose::Steering, kind }
}

// === impl Hooks ===

impl Hooks {
    pub(crate) fn new(programs: PathBuf, links: PathBuf, cgroup: File, netns: Netns) -> Self {
        Self { programs, links, cgroup, netns }
    }

    /// Whether the program is attached by our link.
    pub(crate) fn is_attached(&self, hook: &Hook) -> Result<bool> {
        match bpf::is_attached(&self.links.join(hook.name)) {
            Ok(attached) => Ok(attached),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Attaches the program unless it is; says whether it was not.
    pub(crate) fn attach(&self, hook: &Hook) -> Result<bool> {
        if self.is_attached(hook)? {
            return Ok(false);
        }
        self.detach(hook)?;
        let link = self.make_link(hook).map_err(failed("attach", hook))?;
        link.pin(self.links.join(hook.name)).map_err(failed("pin the link of", hook))?;
        Ok(true)
    }

    /// Removes the link; it is no error if there is none.
    pub(crate) fn detach(&self, hook: &Hook) -> Result<()> {
        let place = self.links.join(hook.name);
        match fs::remove_file(&place) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Error::place("remove", place)(error))
            }
            _ => Ok(()),
        }
    }

    fn make_link(&self, hook: &Hook) -> Result<FdLink, Source> {
        let program = self.programs.join(hook.name);
        match hook.kind {
            Kind::Address(kind) => self.attach_address(&program, kind),
            Kind::Socket(kind) => self.attach_socket(&program, kind),
            Kind::Events => {
                let mut program = SockOps::from_pin(program)?;
                let id = program.attach(&self.cgroup, MODE)?;
                Ok(program.take_link(id)?.try_into()?)
            }
            Kind::Lookup => {
                let mut program = SkLookup::from_pin(program)?;
                let id = program.attach(&self.netns)?;
                Ok(program.take_link(id)?.into())
            }
        }
    }

    fn attach_address(
        &self,
        program: &Path,
        kind: CgroupSockAddrAttachType,
    ) -> Result<FdLink, Source> {
        let mut program = CgroupSockAddr::from_pin(program, kind)?;
        let id = program.attach(&self.cgroup, MODE)?;
        Ok(program.take_link(id)?.try_into()?)
    }

    fn attach_socket(&self, program: &Path, kind: CgroupSockAttachType) -> Result<FdLink, Source> {
        let mut program = CgroupSock::from_pin(program, kind)?;
        let id = program.attach(&self.cgroup, MODE)?;
        Ok(program.take_link(id)?.try_into()?)
    }
}

fn failed<E: Into<Source>>(action: &'static str, hook: &Hook) -> impl FnOnce(E) -> Error {
    let program = hook.name;
    move |error| Error::Program { action, program, source: error.into() }
}
