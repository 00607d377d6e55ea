//! What is published: every kind of host address × every shape of ports × with and without the
//! kernel plane and the client's address, over TCP and UDP and in both families.

/// Which host addresses a port is published on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    Wildcard,
    Specific,
    Loopback,
}

/// The shape of the port spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Single,
    EqualRange,
    ShiftedRange,
}

/// Which planes may serve, and whose address is to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    Auto,
    Relay,
    /// `source=gateway`.
    Gateway,
}

/// One publication of the matrix; its port numbers follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) on: On,
    pub(crate) shape: Shape,
    pub(crate) via: Via,
}

/// The container port the built-in web server has.
const WHOAMI: u16 = 80;

impl Offer {
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for on in [On::Wildcard, On::Specific, On::Loopback] {
            for shape in [Shape::Single, Shape::EqualRange, Shape::ShiftedRange] {
                for via in [Via::Auto, Via::Relay, Via::Gateway] {
                    all.push(Self { on, shape, via });
                }
            }
        }
        all
    }

    /// What stands after `-p`, each spec once for TCP and once for UDP.
    pub(crate) fn specs(self) -> Vec<String> {
        let base = self.base();
        let ports = match self.shape {
            Shape::Single => format!("{base}:{WHOAMI}"),
            Shape::EqualRange => format!("{base}-{0}:{base}-{0}", base + 3),
            Shape::ShiftedRange => format!("{base}-{}:{WHOAMI}-{}", base + 3, WHOAMI + 3),
        };
        let addresses: &[&str] = match self.on {
            On::Wildcard => &[""],
            On::Specific => &["10.1.0.3:", "[fd01::3]:"],
            On::Loopback => &["127.0.0.1:", "[::1]:"],
        };
        let via = match self.via {
            Via::Auto => "",
            Via::Relay => ",via=relay",
            Via::Gateway => ",source=gateway",
        };
        let spec = |address, proto| format!("{address}{ports}/{proto}{via}");
        addresses.iter().flat_map(|it| [spec(it, "tcp"), spec(it, "udp")]).collect()
    }

    /// Host ports to try and the container ports they lead to.
    pub(crate) fn ports(self) -> Vec<(u16, u16)> {
        let base = self.base();
        match self.shape {
            Shape::Single => vec![(base, WHOAMI)],
            Shape::EqualRange => vec![(base, base), (base + 3, base + 3)],
            Shape::ShiftedRange => vec![(base, WHOAMI), (base + 3, WHOAMI + 3)],
        }
    }

    /// Container ports that somebody besides the built-in web server has to listen on.
    pub(crate) fn served_by_a_teller() -> Vec<u16> {
        let ports = Self::all().into_iter().flat_map(Self::ports).map(|(_, port)| port);
        let mut ports: Vec<u16> = ports.filter(|port| *port != WHOAMI).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    fn base(self) -> u16 {
        let on = match self.on {
            On::Wildcard => 20_000,
            On::Specific => 22_000,
            On::Loopback => 24_000,
        };
        let shape = match self.shape {
            Shape::Single => 0,
            Shape::EqualRange => 100,
            Shape::ShiftedRange => 200,
        };
        let via = match self.via {
            Via::Auto => 0,
            Via::Relay => 500,
            Via::Gateway => 1_000,
        };
        on + shape + via
    }
}
