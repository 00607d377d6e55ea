//! `explain`.

use std::process::ExitCode;

use wharf_api::{ExplainRequest, Explanation, HopEntry};

use crate::args::{ExplainArgs, Format};
use crate::connect::Session;
use crate::failure::{Outcome, print_line};
use crate::listing::print_json;

/// The longest name of a hop, and a gap.
const NAME_WIDTH: usize = 13;

/// `wharf explain`.
pub(crate) async fn explain(session: &Session, args: ExplainArgs) -> Outcome {
    let request = ExplainRequest { port: args.port, from: args.from };
    let ways: Vec<Explanation> = session.post("/v1/explain", &request).await?;
    if args.format == Format::Json {
        print_json(&ways)?;
    } else {
        let pictures: Vec<String> = ways.iter().map(picture).collect();
        print_line(&pictures.join("\n\n"))?;
    }
    let works = ways.iter().all(|way| way.works);
    Ok(if works { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The way from top to bottom; where a packet does not get to, the line is broken.
fn picture(way: &Explanation) -> String {
    let mut lines = vec![title(way), String::new()];
    let mut reached = true;
    for (index, hop) in way.hops.iter().enumerate() {
        if index > 0 {
            lines.push(format!("  {}", line(reached)));
        }
        reached &= hop.status != "fails";
        lines.extend(drawn(hop, reached && index + 1 < way.hops.len()));
    }
    lines.push(String::new());
    lines.push(verdict(way));
    lines.join("\n")
}

fn title(way: &Explanation) -> String {
    let at = match way.address.contains(':') {
        true => format!("[{}]:{}", way.address, way.port),
        false => format!("{}:{}", way.address, way.port),
    };
    let to =
        way.target_name.as_ref().map(|name| format!(", which is {name}'s")).unwrap_or_default();
    format!("from {} to {at}/{}{to}", way.from, way.protocol)
}

fn drawn(hop: &HopEntry, goes_on: bool) -> Vec<String> {
    let sign = match hop.status.as_str() {
        "ok" => '✓',
        "fails" => '✗',
        _ => '?',
    };
    let mut lines = vec![format!("  {sign} {:NAME_WIDTH$}{}", hop.hop, hop.text)];
    let remedies = hop.remedy.iter();
    lines.extend(remedies.map(|it| format!("  {} {:NAME_WIDTH$}→ {it}", line(goes_on), "")));
    lines
}

fn line(reached: bool) -> char {
    if reached { '│' } else { '┆' }
}

fn verdict(way: &Explanation) -> String {
    match way.hops.iter().find(|hop| hop.status == "fails") {
        Some(hop) => format!("It fails at {}: {}", hop.hop, hop.text),
        None if way.hops.iter().any(|hop| hop.status == "unknown") => {
            "It works, as far as can be seen from here".to_owned()
        }
        None => "It works".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(name: &str, status: &str, text: &str, remedy: &[&str]) -> HopEntry {
        let remedy = remedy.iter().map(ToString::to_string).collect();
        HopEntry { hop: name.into(), status: status.into(), text: text.into(), remedy }
    }

    #[test]
    fn the_way_is_drawn_down_to_where_it_ends() {
        let way = Explanation {
            protocol: "tcp".into(),
            address: "10.1.0.2".into(),
            port: 8080,
            from: "10.1.0.1".into(),
            publication: None,
            target_name: Some("web".into()),
            path: None,
            plane: None,
            source: None,
            works: false,
            fails_at: None,
            hops: vec![
                hop("arrival", "ok", "10.1.0.1 comes by eth0", &[]),
                hop("bridge", "fails", "bridge wharf0 is down", &["ip link set wharf0 up"]),
                hop("target", "unknown", "cannot be told", &[]),
            ],
        };
        let drawn = picture(&way);
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(
            lines,
            [
                "from 10.1.0.1 to 10.1.0.2:8080/tcp, which is web's",
                "",
                "  ✓ arrival      10.1.0.1 comes by eth0",
                "  │",
                "  ✗ bridge       bridge wharf0 is down",
                "  ┆              → ip link set wharf0 up",
                "  ┆",
                "  ? target       cannot be told",
                "",
                "It fails at bridge: bridge wharf0 is down",
            ]
        );
    }
}
