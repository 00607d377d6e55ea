//! Command lines that cannot be understood.
//!
//! For a flag that it does not know `clap` guesses at one that looks alike, and would have it passed
//! on as an argument. Most such flags are Docker's, so what is said is what Wharf has instead.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Docker's flags that Wharf has not, and why, or what there is instead.
const OF_DOCKER: [(&str, &str); 24] = [
    ("--annotation", "use --label"),
    ("--blkio-weight", "traffic to disks is not limited"),
    ("--blkio-weight-device", "traffic to disks is not limited"),
    ("--cgroupns", "a container sees its own control groups, and nothing above"),
    ("--cpu-count", "it is for Windows; use --cpus"),
    ("--cpu-rt-period", "no container runs in real time"),
    ("--cpu-rt-runtime", "no container runs in real time"),
    ("--device-cgroup-rule", "use --device for each device"),
    ("--device-read-bps", "traffic to disks is not limited"),
    ("--device-read-iops", "traffic to disks is not limited"),
    ("--device-write-bps", "traffic to disks is not limited"),
    ("--device-write-iops", "traffic to disks is not limited"),
    ("--disable-content-trust", "leave it out: signatures are not looked at, digests always are"),
    ("--filter", "use --format json, and jq or grep"),
    ("--gpus", "use --device for each device node"),
    ("--ipc", "a container's shared memory is its own"),
    ("--isolation", "it is for Windows"),
    ("--mac-address", "a container's hardware address follows from its IP address: use --ip"),
    ("--memory-swappiness", "use --memory-swap"),
    ("--oom-kill-disable", "use --oom-score-adj"),
    ("--pid", "a container sees its own processes only; `wharf top` and `wharf exec` show them"),
    ("--runtime", "leave it out: Wharf runs containers itself"),
    ("--userns", "a container's users are the host's; use --user and --cap-drop"),
    ("--uts", "use --hostname"),
];

/// Says what is wrong, and gives the exit code. Help that was asked for comes this way, too.
pub(crate) fn report(error: &clap::Error) -> ExitCode {
    match (error.kind(), text(error, ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(flag)) if flag.starts_with('-') => {
            let usage = text(error, ContextKind::Usage).unwrap_or_default();
            let alike = text(error, ContextKind::SuggestedArg);
            eprintln!("wharf: {}", unknown(&verb(&usage), &flag, alike.as_deref()));
        }
        _ => drop(error.print()),
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
}

fn unknown(verb: &str, flag: &str, alike: Option<&str>) -> String {
    let name = flag.split('=').next().unwrap_or(flag);
    let why = OF_DOCKER.iter().find(|(known, _)| *known == name);
    let why = match (why, alike) {
        (Some((_, why)), _) => format!(": {why}"),
        (None, Some(alike)) => format!(": did you mean {alike}?"),
        (None, None) => String::new(),
    };
    format!("`{verb}` has no flag {name}{why}\nSee '{verb} --help'.")
}

/// `wharf network ls` of `Usage: wharf network ls [OPTIONS]`.
fn verb(usage: &str) -> String {
    let words = usage.split_whitespace().skip_while(|word| *word != "wharf");
    let is_name = |word: &&str| word.starts_with(|first: char| first.is_ascii_lowercase());
    let words: Vec<&str> = words.take_while(is_name).collect();
    if words.is_empty() { "wharf".to_owned() } else { words.join(" ") }
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::StyledStr(text) => Some(text.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Cli;

    fn said(line: &str) -> String {
        let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
        let usage = text(&error, ContextKind::Usage).unwrap_or_default();
        let alike = text(&error, ContextKind::SuggestedArg);
        let flag = text(&error, ContextKind::InvalidArg).unwrap();
        unknown(&verb(&usage), &flag, alike.as_deref())
    }

    #[test]
    fn unknown_flags_are_named_with_what_there_is_instead() {
        let line = "`wharf run` has no flag --uts: use --hostname\nSee 'wharf run --help'.";
        assert_eq!(said("wharf run --uts=host image"), line);
        let line = "`wharf network ls` has no flag --nonsense\nSee 'wharf network ls --help'.";
        assert_eq!(said("wharf network ls --nonsense"), line);
        let line =
            "`wharf run` has no flag --publsh: did you mean --publish?\nSee 'wharf run --help'.";
        assert_eq!(said("wharf run --publsh 80 image"), line);
    }

    #[test]
    fn no_flag_that_there_is_stands_among_those_there_are_not() {
        for (flag, _) in OF_DOCKER.iter().filter(|(flag, _)| *flag != "--filter") {
            let error = Cli::try_parse_from(["wharf", "run", flag, "x", "image"]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnknownArgument, "{flag}");
        }
        assert!(OF_DOCKER.is_sorted());
    }
}
