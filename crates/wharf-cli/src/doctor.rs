//! `doctor`.

use std::process::ExitCode;

use wharf_api::Check;

use crate::args::{DoctorArgs, Format};
use crate::connect::Session;
use crate::failure::{Outcome, print_line};
use crate::listing::print_json;

/// The widest name of a check is a little shorter.
const NAME_WIDTH: usize = 18;

/// `wharf doctor`.
pub(crate) async fn doctor(session: &Session, args: DoctorArgs) -> Outcome {
    let checks: Vec<Check> = session.get("/v1/doctor").await?;
    if args.format == Format::Json {
        print_json(&checks)?;
    } else {
        checks.iter().flat_map(drawn).try_for_each(|line| print_line(&line))?;
        print_line(&verdict(&checks))?;
    }
    let healthy = checks.iter().all(|check| check.status != "problem");
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn drawn(check: &Check) -> Vec<String> {
    let mut lines = vec![format!("{:9}{:NAME_WIDTH$}{}", check.status, check.check, check.text)];
    let more = check.effect.iter().cloned().chain(check.remedy.iter().map(|it| format!("→ {it}")));
    lines.extend(more.map(|text| format!("{:9}{:NAME_WIDTH$}{text}", "", "")));
    lines
}

fn verdict(checks: &[Check]) -> String {
    let count = |status| checks.iter().filter(|check| check.status == status).count();
    let (problems, notes) = (count("problem"), count("note"));
    let plural = |count, one: &str| match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {one}s"),
    };
    let (problems, notes) = (plural(problems, "problem"), plural(notes, "note"));
    format!("\n{} looked at: {problems}, {notes}", plural(checks.len(), "thing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_comes_with_its_effect_and_remedy() {
        let check = Check {
            check: "forwarding".into(),
            status: "problem".into(),
            text: "IPv4 is not forwarded".into(),
            effect: Some("the relay serves everything".into()),
            remedy: vec!["sysctl -w net.ipv4.ip_forward=1".into()],
        };
        assert_eq!(
            drawn(&check),
            [
                "problem  forwarding        IPv4 is not forwarded",
                "                           the relay serves everything",
                "                           → sysctl -w net.ipv4.ip_forward=1",
            ]
        );
        assert_eq!(verdict(&[check]), "\n1 thing looked at: 1 problem, 0 notes");
    }
}
