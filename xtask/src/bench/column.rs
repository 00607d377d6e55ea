//! What is measured: one column each, and the service in the container that answers it.

use clap::ValueEnum;

/// The first port of the services in the container; each service has its own after it.
const FIRST_SERVICE: u16 = 9000;

/// One kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Column {
    /// One TCP stream, client to container.
    #[value(name = "bulk1-up")]
    Bulk1Up,
    /// One TCP stream, container to client.
    #[value(name = "bulk1-down")]
    Bulk1Down,
    /// Eight TCP streams, client to container.
    #[value(name = "bulk8-up")]
    Bulk8Up,
    /// Eight TCP streams, container to client.
    #[value(name = "bulk8-down")]
    Bulk8Down,
    /// 64 bytes there and back, over one connection.
    #[value(name = "rr64x1")]
    Rr1,
    /// 64 bytes there and back, over 32 connections at once.
    #[value(name = "rr64x32")]
    Rr32,
    /// A connection for each 64 bytes there and back, 8 at a time.
    #[value(name = "conns")]
    Connections,
    /// Datagrams as fast as the client can send them: what arrives.
    #[value(name = "udp-flood")]
    UdpFlood,
    /// Datagrams at the highest pace of which no more than one in a hundred is lost.
    #[value(name = "udp-clean")]
    UdpClean,
    /// A 64-byte datagram there and back, one flow.
    #[value(name = "udp-rr64x1")]
    UdpRr1,
    /// A 64-byte datagram there and back, 32 flows at once.
    #[value(name = "udp-rr64x32")]
    UdpRr32,
    /// The same with one flow, over a socket that is not connected.
    #[value(name = "udp-sendto")]
    UdpSendTo,
}

/// What a column makes the client do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// Sends for the whole window.
    Upload { streams: usize },
    /// Receives for the whole window.
    Download { streams: usize },
    /// Sends 64 bytes and waits for them to come back.
    Exchange { connections: usize },
    /// Connects, exchanges 64 bytes, and waits for the server to close.
    Connect { workers: usize },
    /// Sends datagrams without a pause.
    Flood,
    /// Looks for the pace at which nearly all datagrams arrive.
    Clean,
    /// Sends a datagram and waits for it to come back.
    Echo { flows: usize },
    /// The same without connecting: every datagram is sent to an address.
    Ask,
}

/// Something that listens in the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Service {
    /// TCP: a thread for each connection, which receives, sends or echoes as told.
    Stream,
    /// TCP: answers 64 bytes and closes.
    Short,
    /// TCP: keeps every connection open and echoes.
    Held,
    /// UDP: counts.
    Sink,
    /// UDP: echoes.
    Echo,
    /// TCP: says what [`Service::Sink`] has counted. It is asked on the direct path.
    Count,
}

// === impl Column ===

impl Column {
    /// Those of clients on another host.
    pub(crate) const RELAY: [Self; 11] = [
        Self::Bulk1Up,
        Self::Bulk1Down,
        Self::Bulk8Up,
        Self::Bulk8Down,
        Self::Rr1,
        Self::Rr32,
        Self::Connections,
        Self::UdpFlood,
        Self::UdpClean,
        Self::UdpRr1,
        Self::UdpRr32,
    ];

    /// Those of clients on the host.
    pub(crate) const LOCAL: [Self; 8] = [
        Self::Bulk1Up,
        Self::Bulk1Down,
        Self::Bulk8Up,
        Self::Bulk8Down,
        Self::Rr1,
        Self::Rr32,
        Self::Connections,
        Self::UdpSendTo,
    ];

    /// Its name in tables, files and on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// All columns whose name begins with `prefix`.
    pub(crate) fn matching(prefix: &str) -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied().filter(move |it| it.name().starts_with(prefix))
    }

    /// What the client does.
    pub(crate) fn load(self) -> Load {
        match self {
            Self::Bulk1Up => Load::Upload { streams: 1 },
            Self::Bulk1Down => Load::Download { streams: 1 },
            Self::Bulk8Up => Load::Upload { streams: 8 },
            Self::Bulk8Down => Load::Download { streams: 8 },
            Self::Rr1 => Load::Exchange { connections: 1 },
            Self::Rr32 => Load::Exchange { connections: 32 },
            Self::Connections => Load::Connect { workers: 8 },
            Self::UdpFlood => Load::Flood,
            Self::UdpClean => Load::Clean,
            Self::UdpRr1 => Load::Echo { flows: 1 },
            Self::UdpRr32 => Load::Echo { flows: 32 },
            Self::UdpSendTo => Load::Ask,
        }
    }

    /// The service that answers.
    pub(crate) fn service(self) -> Service {
        match self.load() {
            Load::Upload { .. } | Load::Download { .. } | Load::Exchange { .. } => Service::Stream,
            Load::Connect { .. } => Service::Short,
            Load::Flood | Load::Clean => Service::Sink,
            Load::Echo { .. } | Load::Ask => Service::Echo,
        }
    }

    /// Whether it moves as many bytes as it can over TCP.
    pub(crate) fn is_bulk(self) -> bool {
        matches!(self.load(), Load::Upload { .. } | Load::Download { .. })
    }

    /// Whether it is about datagrams.
    pub(crate) fn is_udp(self) -> bool {
        self.service().is_udp()
    }

    /// The unit of its rate.
    pub(crate) fn unit(self) -> &'static str {
        match self.load() {
            Load::Upload { .. } | Load::Download { .. } | Load::Flood | Load::Clean => "Gbit/s",
            Load::Exchange { .. } | Load::Echo { .. } | Load::Ask => "exchanges/s",
            Load::Connect { .. } => "connections/s",
        }
    }
}

// === impl Service ===

impl Service {
    /// Those that are reached through a proxy.
    pub(crate) const PROXIED: [Self; 5] =
        [Self::Stream, Self::Short, Self::Held, Self::Sink, Self::Echo];

    /// Whether it is a UDP service.
    pub(crate) fn is_udp(self) -> bool {
        matches!(self, Self::Sink | Self::Echo)
    }

    /// Its place among the services, from 0.
    pub(crate) fn offset(self) -> u16 {
        match self {
            Self::Stream => 0,
            Self::Short => 1,
            Self::Held => 2,
            Self::Sink => 3,
            Self::Echo => 4,
            Self::Count => 5,
        }
    }

    /// Its port in the container.
    pub(crate) fn port(self) -> u16 {
        FIRST_SERVICE + self.offset()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_chosen_by_the_beginning_of_their_names() {
        let chosen: Vec<Column> = Column::matching("bulk1").collect();
        assert_eq!(chosen, [Column::Bulk1Up, Column::Bulk1Down]);
        assert_eq!(Column::matching("rr64x1").collect::<Vec<_>>(), [Column::Rr1]);
        assert_eq!(Column::matching("udp").count(), 5);
        assert_eq!(Column::matching("x").count(), 0);
    }

    #[test]
    fn services_have_ports_of_their_own() {
        let mut ports: Vec<u16> = Service::PROXIED.iter().map(|it| it.port()).collect();
        ports.push(Service::Count.port());
        ports.dedup();
        assert_eq!(ports, [9000, 9001, 9002, 9003, 9004, 9005]);
    }
}
