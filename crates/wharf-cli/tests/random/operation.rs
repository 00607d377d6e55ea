//! What is done, drawn from the dice: mostly what makes sense, sometimes what has to be refused.

use std::fmt;

use wharf_spec::{
    HostPorts, PortRange, PortSpec, Proto, ProxyProtocol, PublishOptions, SourceMode, Via,
};

use super::dice::Dice;
use super::fault::Fault;
use super::model::{Model, NETWORKS, Network, Publication, Refusal, Which};
use super::wanted::NOBODYS;

/// So few that they are started, stopped and made anew again and again. None can be the beginning
/// of another one's identity.
const NAMES: [&str; 6] = ["n0", "n1", "n2", "n3", "n4", "n5"];
/// So few that they are asked for twice all the time.
const FIRST_PORT: u16 = 8000;
const PORTS: u16 = 160;
/// Where one of several ports is left to the program; enough that one is always free, whatever the
/// order.
const FIRST_CHOICE: u16 = 8200;
const CHOICE: u16 = 8;
/// None of ours runs on this machine for longer than a moment.
const ADDRESSES: [Option<&str>; 9] = [
    None,
    None,
    Some("0.0.0.0"),
    Some("::"),
    Some("127.0.0.1"),
    Some("::1"),
    Some("10.1.0.2"),
    Some("fd01::2"),
    Some("127.0.0.5"),
];
const ALLOWED: [&[&str]; 5] = [
    &["10.1.0.0/24"],
    &["10.1.0.1/32", "fd01::1/128"],
    &["10.0.0.0/8", "10.1.0.0/16", "127.0.0.0/8"],
    &["fd01::/64", "::1/128"],
    &["192.0.2.0/25", "192.0.2.128/25", "2001:db8::/32"],
];

/// One step.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    Publish {
        name: String,
        specs: Vec<PortSpec>,
        replace: Option<String>,
    },
    Unpublish {
        name: String,
        which: Which,
        drain: Option<u32>,
    },
    Run {
        name: String,
        network: &'static Network,
        specs: Vec<PortSpec>,
    },
    Start {
        name: String,
    },
    Stop {
        name: String,
    },
    Kill {
        name: String,
    },
    Restart {
        name: String,
    },
    Remove {
        name: String,
    },
    Fault(Fault),
    /// The daemon is killed while it is at it.
    Torn {
        torn: Box<Operation>,
        after_micros: u64,
    },
}

/// The container port that `wharf/whoami` listens on in a container of this name.
pub(super) fn listening_port(name: &str) -> u16 {
    if name < "n3" { 80 } else { FIRST_PORT + 6 }
}

// === impl Operation ===

impl Operation {
    pub(super) fn draw(dice: &mut Dice, model: &Model) -> Self {
        type Draw = fn(&mut Dice, &Model) -> Operation;
        let all: [(usize, Draw); 12] = [
            (300, publish),
            (60, |dice, model| change(dice, model).unwrap_or_else(|| publish(dice, model))),
            (60, |dice, model| replace(dice, model).unwrap_or_else(|| publish(dice, model))),
            (240, unpublish),
            (14, run),
            (12, |dice, model| Self::Start { name: of_state(dice, model, false) }),
            (7, |dice, model| Self::Stop { name: of_state(dice, model, true) }),
            (3, |dice, model| Self::Kill { name: of_state(dice, model, true) }),
            (3, |dice, model| Self::Restart { name: of_state(dice, model, true) }),
            (6, |dice, _| Self::Remove { name: name(dice) }),
            (20, |dice, _| Self::Fault(Fault::draw(dice))),
            (4, torn),
        ];
        dice.weighted(&all)(dice, model)
    }

    /// What the model says of it; after a refusal everything is as it was.
    pub(super) fn apply(&self, model: &mut Model) -> Result<(), Refusal> {
        match self {
            Self::Publish { name, specs, replace } => {
                model.publish(name, specs, replace.as_deref())
            }
            Self::Unpublish { name, which, .. } => model.unpublish(name, which),
            Self::Run { name, network, specs } => {
                model.create(name, network, specs)?;
                model.start(name)
            }
            Self::Start { name } => model.start(name),
            Self::Stop { name } => model.stop(name),
            Self::Kill { name } => {
                model.running(name)?;
                model.stop(name)
            }
            Self::Restart { name } => {
                model.stop(name)?;
                model.start(name)
            }
            Self::Remove { name } => model.remove(name),
            Self::Fault(_) => Ok(()),
            Self::Torn { torn, .. } => torn.apply(model),
        }
    }

    /// Whether something has to be put right afterwards, which takes a moment.
    pub(super) fn is_fault(&self) -> bool {
        matches!(self, Self::Fault(_) | Self::Torn { .. })
    }

    /// Whether a program begins by it, which takes a moment until it listens.
    pub(super) fn starts(&self) -> bool {
        match self {
            Self::Run { .. } | Self::Start { .. } | Self::Restart { .. } => true,
            Self::Torn { torn, .. } => torn.starts(),
            _ => false,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |specs: &[PortSpec]| {
            specs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        match self {
            Self::Publish { name, specs, replace } => {
                write!(f, "publish {name} {}", list(specs))?;
                replace.iter().try_for_each(|other| write!(f, " --replace {other}"))
            }
            Self::Unpublish { name, which, drain } => {
                write!(f, "unpublish {name} ")?;
                match which {
                    Which::All => f.write_str("--all")?,
                    Which::Spec(spec) => write!(f, "{spec}")?,
                    Which::Known(place) => write!(f, "(id of publication {place})")?,
                }
                drain.iter().try_for_each(|seconds| write!(f, " --drain {seconds}s"))
            }
            Self::Run { name, network, specs } => {
                write!(f, "run --name {name} --network {} -p {}", network.name, list(specs))
            }
            Self::Start { name } => write!(f, "start {name}"),
            Self::Stop { name } => write!(f, "stop {name}"),
            Self::Kill { name } => write!(f, "kill {name}"),
            Self::Restart { name } => write!(f, "restart {name}"),
            Self::Remove { name } => write!(f, "rm -f {name}"),
            Self::Fault(fault) => write!(f, "{fault}"),
            Self::Torn { torn, after_micros } => {
                write!(f, "kill -9 daemon {after_micros} µs into: {torn}")
            }
        }
    }
}

fn name(dice: &mut Dice) -> String {
    (*dice.pick(&NAMES)).to_owned()
}

/// Mostly one that runs, or mostly one that does not.
fn of_state(dice: &mut Dice, model: &Model, running: bool) -> String {
    let all = model.containers.iter().filter(|(_, it)| it.running == running);
    let all: Vec<&String> = all.map(|(name, _)| name).collect();
    if all.is_empty() || dice.chance(3) { name(dice) } else { (*dice.pick(&all)).clone() }
}

fn options(dice: &mut Dice) -> PublishOptions {
    let vias = [(74, Via::Auto), (18, Via::Relay), (8, Via::Nft)];
    let sources = [(87, SourceMode::Auto), (5, SourceMode::Client), (8, SourceMode::Gateway)];
    let headers = [(90, None), (4, Some(ProxyProtocol::V1)), (6, Some(ProxyProtocol::V2))];
    let allow = if dice.chance(25) { *dice.pick(&ALLOWED) } else { &[] };
    PublishOptions {
        via: *dice.weighted(&vias),
        source: *dice.weighted(&sources),
        allow: allow.iter().map(|net| net.parse().unwrap()).collect(),
        proxy_protocol: *dice.weighted(&headers),
    }
}

fn spec(dice: &mut Dice, name: &str, options: PublishOptions) -> PortSpec {
    let nobodys = dice.chance(1).then_some(NOBODYS);
    let host_ip = nobodys.or_else(|| *dice.pick(&ADDRESSES));
    let first = FIRST_PORT + dice.small(PORTS);
    let more = if dice.chance(15) { 1 + dice.small(4) } else { 0 };
    let host = PortRange::new(first, first + more).unwrap();
    let behind = listening_port(name);
    // Ranges that keep their numbers are of another kind than those that shift.
    let same = host.contains(behind) && dice.chance(80);
    let single = PortRange::single(behind);
    let shifted = PortRange::new(behind - dice.small(more + 1), behind).unwrap();
    let (host_ports, container_ports) = match *dice.weighted(&[(84, 0), (8, 1), (8, 2)]) {
        0 if same => (HostPorts::Exact(host), host),
        0 if more == 0 => (HostPorts::Exact(host), single),
        0 => {
            let first_behind = shifted.first();
            let shifted = PortRange::new(first_behind, first_behind + more).unwrap();
            (HostPorts::Exact(host), shifted)
        }
        1 => {
            let first = FIRST_CHOICE + CHOICE * dice.small(5);
            (HostPorts::AnyOf(PortRange::new(first, first + CHOICE - 1).unwrap()), single)
        }
        _ => (HostPorts::Ephemeral, if more > 0 { shifted } else { single }),
    };
    let proto = if dice.chance(30) { Proto::Udp } else { Proto::Tcp };
    let host_ip = host_ip.map(|address| address.parse().unwrap());
    PortSpec { host_ip, host_ports, container_ports, proto, options }
}

fn specs(dice: &mut Dice, name: &str, with: &PublishOptions) -> Vec<PortSpec> {
    let count = *dice.weighted(&[(80, 1), (15, 2), (5, 3)]);
    (0..count).map(|_| spec(dice, name, with.clone())).collect()
}

fn publish(dice: &mut Dice, model: &Model) -> Operation {
    let name = of_state(dice, model, true);
    let options = options(dice);
    let specs = specs(dice, &name, &options);
    let replace = dice.chance(2).then(|| self::name(dice));
    Operation::Publish { name, specs, replace }
}

/// One of those whose ports are known.
fn known<'a>(dice: &mut Dice, model: &'a Model) -> Option<(usize, &'a Publication)> {
    let all: Vec<(usize, &Publication)> = model.publications.iter().enumerate().collect();
    (!all.is_empty()).then(|| *dice.pick(&all))
}

/// The same place with other options.
fn change(dice: &mut Dice, model: &Model) -> Option<Operation> {
    let (_, publication) = known(dice, model)?;
    let name = publication.owner.clone();
    let specs = vec![spec_at(publication, publication.target_ports, options(dice))?];
    Some(Operation::Publish { name, specs, replace: None })
}

/// The same place, and another container behind it.
fn replace(dice: &mut Dice, model: &Model) -> Option<Operation> {
    let (_, publication) = known(dice, model)?;
    let name = of_state(dice, model, true);
    let behind = if publication.ports?.is_single() {
        PortRange::single(listening_port(&name))
    } else {
        publication.target_ports
    };
    let options = if dice.chance(50) { publication.options.clone() } else { options(dice) };
    let specs = vec![spec_at(publication, behind, options)?];
    Some(Operation::Publish { name, specs, replace: Some(publication.owner.clone()) })
}

/// What asks for exactly the place of a publication; not every one can be said in one spec.
fn spec_at(
    publication: &Publication,
    container_ports: PortRange,
    options: PublishOptions,
) -> Option<PortSpec> {
    let host_ip = match publication.addresses.as_slice() {
        [one] => Some(*one),
        [v4, v6] if v4.is_unspecified() && v6.is_unspecified() => None,
        _ => return None,
    };
    let (host_ports, proto) = (HostPorts::Exact(publication.ports?), publication.proto);
    Some(PortSpec { host_ip, host_ports, container_ports, proto, options })
}

fn unpublish(dice: &mut Dice, model: &Model) -> Operation {
    let drain = dice.chance(20).then(|| 1 + u32::from(dice.small(3)));
    let Some((place, publication)) = known(dice, model) else {
        return Operation::Unpublish { name: name(dice), which: Which::All, drain };
    };
    let other = dice.chance(3);
    let name = if other { self::name(dice) } else { publication.owner.clone() };
    let which = match *dice.weighted(&[(50, 0), (40, 1), (3, 2), (7, 3)]) {
        0 => Which::Known(place),
        1 => Which::Spec(publication.specs[0].clone()),
        2 => Which::All,
        _ => Which::Spec(spec(dice, &name, PublishOptions::default())),
    };
    Operation::Unpublish { name, which, drain }
}

fn run(dice: &mut Dice, model: &Model) -> Operation {
    let missing: Vec<&&str> =
        NAMES.iter().filter(|name| !model.containers.contains_key(**name)).collect();
    let name = if missing.is_empty() || dice.chance(3) {
        name(dice)
    } else {
        (**dice.pick(&missing)).to_owned()
    };
    let network = dice.pick(&NETWORKS);
    let with = options(dice);
    let specs = if dice.chance(25) { Vec::new() } else { specs(dice, &name, &with) };
    Operation::Run { name, network, specs }
}

fn torn(dice: &mut Dice, model: &Model) -> Operation {
    let after_micros = 200 * u64::from(dice.small(60));
    let whole = match dice.below(3) {
        0 => unpublish(dice, model),
        1 => change(dice, model).unwrap_or_else(|| publish(dice, model)),
        _ => publish(dice, model),
    };
    let torn = match whole {
        // Each spec of a request counts for itself when it is cut short.
        Operation::Publish { name, mut specs, replace } => {
            specs.truncate(1);
            Operation::Publish { name, specs, replace }
        }
        other => other,
    };
    Operation::Torn { torn: Box::new(torn), after_micros }
}
