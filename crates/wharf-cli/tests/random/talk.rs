//! Clients: whoever may come is answered by the right container, and everybody else by nobody.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use wharf_lab::{Host, wait};
use wharf_spec::{PortRange, Proto};

use super::dice::Dice;
use super::model::{Model, Publication};
use super::operation::listening_port;
use super::site::Site;
use super::view::REPAIR_LIMIT;

/// Who is not on the list hears nothing; what is not heard within this is silence.
const SILENCE: Duration = Duration::from_millis(120);

/// A way to a publication.
struct Way<'a> {
    client: &'a Host,
    source: IpAddr,
    address: IpAddr,
}

// === impl Site ===

impl Site {
    /// Talks to one publication from the remote host and from the host itself, and to a port that
    /// nobody has published. `patient` allows for what is just being put right.
    pub(super) fn talk(&self, dice: &mut Dice, model: &Model, patient: bool) -> Result<(), String> {
        let answering: Vec<&Publication> =
            model.in_force().filter(|it| port_behind(it).is_some()).collect();
        if !answering.is_empty() {
            let one = *dice.pick(&answering);
            for remote in [true, false] {
                let ways = self.ways(one, remote);
                if !ways.is_empty() {
                    self.take(dice.pick(&ways), one, patient)?;
                }
            }
        }
        self.nobody_answers(dice, model)
    }

    fn ways(&self, publication: &Publication, remote: bool) -> Vec<Way<'_>> {
        let all: [(bool, &str, &str); 7] = [
            (true, "10.1.0.1", "10.1.0.2"),
            (true, "fd01::1", "fd01::2"),
            (false, "127.0.0.1", "127.0.0.1"),
            (false, "127.0.0.1", "127.0.0.5"),
            (false, "::1", "::1"),
            (false, "10.1.0.2", "10.1.0.2"),
            (false, "fd01::2", "fd01::2"),
        ];
        let client = if remote { &self.remote } else { &self.host };
        let ways = all.into_iter().filter(|way| way.0 == remote).map(|(_, source, address)| Way {
            client,
            source: source.parse().unwrap(),
            address: address.parse().unwrap(),
        });
        let leads = |way: &Way<'_>| {
            publication.addresses.iter().any(|at| {
                *at == way.address || (at.is_unspecified() && at.is_ipv4() == way.address.is_ipv4())
            })
        };
        ways.filter(leads).collect()
    }

    fn take(&self, way: &Way<'_>, to: &Publication, patient: bool) -> Result<(), String> {
        let at = SocketAddr::new(way.address, port_behind(to).unwrap());
        let allow = &to.options.allow;
        let who = format!("{} {at} from {} (to {to:?})", to.proto, way.source);
        if !allow.is_empty() && !allow.iter().any(|net| net.contains(&way.source)) {
            return if is_heard(way.client, to.proto, at) {
                Err(format!("not on the allow-list, but heard: {who}"))
            } else {
                Ok(())
            };
        }
        let answer = || way.client.told(&to.proto.to_string(), &at.to_string());
        let limit = if patient { REPAIR_LIMIT } else { Duration::ZERO };
        let mut last = String::new();
        let told = wait::until(limit, "an answer", || {
            answer().map_err(|error| last = format!("{error:#}")).ok()
        });
        match told {
            Ok(told) if told.hostname == to.owner => Ok(()),
            Ok(told) => Err(format!("{} answers: {who}", told.hostname)),
            Err(_) => Err(format!("no answer: {who}: {last}")),
        }
    }

    fn nobody_answers(&self, dice: &mut Dice, model: &Model) -> Result<(), String> {
        let port = 8000 + dice.small(250);
        let single = PortRange::single(port);
        let taken = |it: &Publication| {
            it.proto == Proto::Tcp && it.ports.is_some_and(|ports| ports.overlaps(single))
        };
        if model.in_force().any(taken) {
            return Ok(());
        }
        for (client, address) in [
            (&self.remote, "10.1.0.2"),
            (&self.remote, "fd01::2"),
            (&self.host, "127.0.0.1"),
            (&self.host, "fd01::2"),
        ] {
            let at = SocketAddr::new(address.parse().unwrap(), port);
            let error = client.run(|| TcpStream::connect_timeout(&at, REPAIR_LIMIT)).unwrap();
            let error = error.err().map(|error| error.kind());
            if error != Some(std::io::ErrorKind::ConnectionRefused) {
                return Err(format!("nobody has published {at}, by {}: {error:?}", client.name()));
            }
        }
        Ok(())
    }
}

/// The host port that leads to where the container listens, and no header comes first.
fn port_behind(publication: &Publication) -> Option<u16> {
    publication.options.proxy_protocol.is_none().then_some(())?;
    publication.target_ports.map(listening_port(&publication.owner), publication.ports?)
}

fn is_heard(client: &Host, proto: Proto, at: SocketAddr) -> bool {
    if proto == Proto::Tcp {
        return client.run(|| TcpStream::connect_timeout(&at, SILENCE)).unwrap().is_ok();
    }
    let Ok(socket) = client.udp(&at.to_string()) else { return false };
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    socket.send(b"who am I?").is_ok() && socket.recv(&mut [0; 2048]).is_ok()
}
