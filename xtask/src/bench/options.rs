//! What to measure in windows, and how long.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::column::Column;
use super::rounds::Plan;
use super::{found, ground};

/// As many as the documented results have.
const ROUNDS: u32 = 8;

/// How to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How often everything is measured; results of fewer rounds are not written.
    #[arg(long, default_value_t = ROUNDS)]
    pub(crate) rounds: u32,
    /// The length of one window.
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// Only columns that begin with one of these (bulk1, rr64x32, conns, udp, …), or only a part
    /// that is no column (`costs` of the relay, `first` of the host's own clients).
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Who is measured besides the direct path, by the names in the tables.
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Leave docs/benchmarks as it is; a run of a part always does.
    #[arg(long)]
    no_write: bool,
    /// Measure this build of the program as ours, not the release build.
    #[arg(long, value_name = "PROGRAM")]
    program: Option<PathBuf>,
}

// === impl Options ===

impl Options {
    /// The rounds over those of `columns` that were asked for; `part` is what is no column.
    pub(crate) fn plan(&self, columns: &[Column], part: &str) -> Result<Plan> {
        let mut chosen: Vec<Column> = Vec::new();
        let everything = [String::new()];
        let prefixes = if self.only.is_empty() { &everything[..] } else { &self.only };
        for prefix in prefixes.iter().filter(|prefix| *prefix != part) {
            let before = chosen.len();
            chosen.extend(Column::matching(prefix).filter(|column| columns.contains(column)));
            ensure!(chosen.len() > before, "no column begins with {prefix:?}");
        }
        chosen.sort_unstable();
        chosen.dedup();
        let window = Duration::try_from_secs_f64(self.seconds).context("--seconds")?;
        Ok(Plan { columns: chosen, rounds: self.rounds, window })
    }

    /// Whether this part, which is no column, is to be measured.
    pub(crate) fn measures(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|chosen| chosen == part)
    }

    /// Whether the results say something about everybody and everything.
    pub(crate) fn is_complete(&self) -> bool {
        let whole = self.only.is_empty() && self.peers.is_empty() && self.rounds >= ROUNDS;
        whole && !self.no_write
    }

    /// The program that is measured as ours.
    pub(crate) fn program(&self) -> Result<PathBuf> {
        match &self.program {
            Some(program) => found(program),
            None => found(&ground::built()?.join("wharf")),
        }
    }

    /// Those of `all` who are to be measured.
    pub(crate) fn chosen<K>(&self, all: Vec<(&'static str, K)>) -> Result<Vec<(&'static str, K)>> {
        for wanted in &self.peers {
            ensure!(all.iter().any(|(name, _)| name == wanted), "nobody is called {wanted:?}");
        }
        let chosen =
            |name: &str| self.peers.is_empty() || self.peers.iter().any(|wanted| wanted == name);
        Ok(all.into_iter().filter(|(name, _)| chosen(name)).collect())
    }
}
