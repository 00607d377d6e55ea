//! `container prune`, `network prune`, `system prune`.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use wharf_api::Pruned;

use crate::args::PruneArgs;
use crate::connect::Session;
use crate::failure::{Exit, Outcome, print_line};
use crate::ports::size;

/// Something that can be pruned: its path in the API, and what goes.
pub(crate) struct Kind {
    path: &'static str,
    title: &'static str,
    goes: &'static str,
}

pub(crate) const CONTAINERS: Kind = Kind {
    path: "containers",
    title: "Deleted Containers:",
    goes: "all containers that do not run",
};
pub(crate) const NETWORKS: Kind = Kind {
    path: "networks",
    title: "Deleted Networks:",
    goes: "all networks that no container is on",
};

pub(crate) const IMAGES: Kind =
    Kind { path: "images", title: "Deleted Images:", goes: "all dangling images" };
pub(crate) const ALL_IMAGES: Kind = Kind {
    path: "images?all=true",
    title: "Deleted Images:",
    goes: "all images without at least one container made of them",
};

/// Removes what there is of `kinds` that nothing uses, in order.
pub(crate) async fn prune(session: &Session, args: &PruneArgs, kinds: &[Kind]) -> Outcome {
    if !args.force && !agreed(kinds)? {
        return Ok(ExitCode::SUCCESS);
    }
    let mut reclaimed: u64 = 0;
    for kind in kinds {
        let pruned: Pruned = session.post(&format!("/v1/prune/{}", kind.path), &()).await?;
        if !pruned.removed.is_empty() {
            print_line(kind.title)?;
            pruned.removed.iter().try_for_each(|what| print_line(what))?;
            print_line("")?;
        }
        reclaimed = reclaimed.saturating_add(pruned.reclaimed);
    }
    print_line(&format!("Total reclaimed space: {}", size(reclaimed)))?;
    Ok(ExitCode::SUCCESS)
}

/// Asks whoever sits there; without a terminal nobody could answer.
fn agreed(kinds: &[Kind]) -> Result<bool, Exit> {
    if !std::io::stdin().is_terminal() {
        return Err(Exit::failed("nobody can be asked without a terminal: add --force"));
    }
    let goes: Vec<&str> = kinds.iter().map(|kind| kind.goes).collect();
    eprint!("WARNING! This will remove {}.\nGo on? [y/N] ", goes.join(" and "));
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
