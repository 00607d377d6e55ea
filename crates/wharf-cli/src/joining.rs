//! What is written after `--network`: a name, or Docker's `name=…,alias=…,ip=…,ip6=…`.

use wharf_api::options::NetworkJoin;

use crate::failure::Exit;

/// Reads every `--network`, the first one first.
pub(crate) fn networks(given: &[String]) -> Result<Vec<NetworkJoin>, Exit> {
    given.iter().map(|text| network(text)).collect()
}

fn network(text: &str) -> Result<NetworkJoin, Exit> {
    if !text.contains('=') {
        return Ok(NetworkJoin { network: text.to_owned(), ..NetworkJoin::default() });
    }
    let mut join = NetworkJoin::default();
    for field in text.split(',') {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        match key {
            "name" => value.clone_into(&mut join.network),
            "alias" => join.aliases.push(value.to_owned()),
            "ip" => join.ip = Some(value.parse().map_err(|_| invalid(text, field))?),
            "ip6" => join.ip6 = Some(value.parse().map_err(|_| invalid(text, field))?),
            _ => return Err(invalid(text, field)),
        }
    }
    if join.network.is_empty() { Err(invalid(text, "name=")) } else { Ok(join) }
}

fn invalid(text: &str, field: &str) -> Exit {
    Exit::at_run(format!(
        "invalid --network {text:?}: {field:?} is not understood: use a network's name, or \
         name=NETWORK,alias=NAME,ip=ADDRESS,ip6=ADDRESS"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_a_name_or_fields() {
        let read = |text: &str| networks(&[text.to_owned()]).ok().and_then(|mut all| all.pop());
        assert_eq!(read("container:web").unwrap().network, "container:web");
        let join = read("name=blue,alias=a,alias=b,ip=10.0.0.9,ip6=fd00::9").unwrap();
        assert_eq!((join.network.as_str(), join.aliases.len()), ("blue", 2));
        assert_eq!(join.ip.unwrap().to_string(), "10.0.0.9");
        assert_eq!(join.ip6.unwrap().to_string(), "fd00::9");
        for wrong in ["alias=a", "name=blue,ip=ten", "name=blue,driver-opt=x", "name=blue,,"] {
            assert!(read(wrong).is_none(), "{wrong}");
        }
    }
}
