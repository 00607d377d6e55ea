//! Verbs about what containers use: `pause`, `unpause`, `update`, `stats`, `top`.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use wharf_api::client::{ClientError, Part};
use wharf_api::{
    ContainerStats, ContainerSummary, ContainerTop, ContainerUpdate, ErrorCode, Updated,
};
use wharf_spec::Bytes;

use crate::args::{Format, PauseArgs, StatsArgs, TopArgs, UpdateArgs};
use crate::connect::Session;
use crate::create::warn;
use crate::failure::{Exit, Outcome, for_each};
use crate::listing::{print_json, print_table, short};

/// Between two looks at the counters, as in Docker.
const ROUND: Duration = Duration::from_secs(1);
/// Moves the cursor to the upper left and clears the screen from there.
const CLEAR: &str = "\x1b[H\x1b[J";
const HEADER: [&str; 8] =
    ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"];

/// One container in one round, as `--format json` prints it.
#[derive(Debug, Serialize)]
struct Sample {
    #[serde(flatten)]
    stats: ContainerStats,
    /// Processor time since the round before, in hundredths of one processor.
    cpu_percent: f64,
    memory_percent: f64,
}

/// `wharf pause`.
pub(crate) async fn pause(session: &Session, args: PauseArgs) -> Outcome {
    tell(session, &args.containers, "pause").await
}

/// `wharf unpause`.
pub(crate) async fn unpause(session: &Session, args: PauseArgs) -> Outcome {
    tell(session, &args.containers, "unpause").await
}

async fn tell(session: &Session, containers: &[String], what: &'static str) -> Outcome {
    for_each(containers, |name| async move {
        let path = format!("/v1/containers/{}/{what}", Part(&name));
        let _done: serde_json::Value = session.post(&path, &()).await?;
        Ok(name)
    })
    .await
}

/// `wharf update`.
pub(crate) async fn update(session: &Session, args: UpdateArgs) -> Outcome {
    let request = ContainerUpdate { resources: args.limits.request()? };
    if request == ContainerUpdate::default() {
        return Err(Exit::failed(
            "you must provide one or more flags when using this command: see wharf update --help",
        ));
    }
    let request = &request;
    for_each(&args.containers, |name| async move {
        let path = format!("/v1/containers/{}/update", Part(&name));
        let updated: Updated = session.post(&path, request).await?;
        warn(&updated.warnings);
        Ok(name)
    })
    .await
}

/// `wharf top`.
pub(crate) async fn top(session: &Session, args: TopArgs) -> Outcome {
    if !args.ps_options.is_empty() {
        return Err(Exit::failed(
            "options of ps are not available: the columns are those of `ps -ef`; for others, run ps \
             in the container with `wharf exec`",
        ));
    }
    let path = format!("/v1/containers/{}/top", Part(&args.container));
    let top: ContainerTop = session.get(&path).await?;
    match args.format {
        Format::Json => print_json(&top),
        Format::Table => {
            let titles: Vec<&str> = top.titles.iter().map(String::as_str).collect();
            print_table(&titles, top.processes)
        }
    }
}

/// `wharf stats`.
pub(crate) async fn stats(session: &Session, args: StatsArgs) -> Outcome {
    let mut before = look(session, &args).await?;
    loop {
        tokio::time::sleep(ROUND).await;
        let now = look(session, &args).await?;
        let samples: Vec<Sample> = now.iter().map(|stats| sample(stats, &before)).collect();
        show(&samples, &args)?;
        if args.no_stream {
            return Ok(ExitCode::SUCCESS);
        }
        before = now;
    }
}

/// The counters of every container asked for.
async fn look(session: &Session, args: &StatsArgs) -> Result<Vec<ContainerStats>, Exit> {
    let named = !args.containers.is_empty();
    let names = if named { args.containers.clone() } else { running(session, args.all).await? };
    let mut found = Vec::new();
    for name in names {
        match session.get(&format!("/v1/containers/{}/stats", Part(&name))).await {
            Ok(stats) => found.push(stats),
            // It went between the listing and now.
            Err(ClientError::Api(e)) if !named && e.code == ErrorCode::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

async fn running(session: &Session, all: bool) -> Result<Vec<String>, Exit> {
    let found: Vec<ContainerSummary> = session.get("/v1/containers").await?;
    Ok(found.into_iter().filter(|c| all || c.state.is_alive()).map(|c| c.id).collect())
}

fn sample(now: &ContainerStats, before: &[ContainerStats]) -> Sample {
    let by_id: HashMap<&str, &ContainerStats> = before.iter().map(|s| (s.id.as_str(), s)).collect();
    let cpu = by_id.get(now.id.as_str()).map_or(0, |then| {
        let used = now.cpu_nanoseconds.saturating_sub(then.cpu_nanoseconds);
        let passed = now.monotonic_nanoseconds.saturating_sub(then.monotonic_nanoseconds);
        hundredths(used, passed)
    });
    let memory = hundredths(now.memory, now.memory_limit);
    let percent = |hundredths: u32| f64::from(hundredths) / 100.0;
    Sample { stats: now.clone(), cpu_percent: percent(cpu), memory_percent: percent(memory) }
}

/// `part` of `whole` in hundredths of a percent.
fn hundredths(part: u64, whole: u64) -> u32 {
    let scaled = u128::from(part) * 10_000 / u128::from(whole.max(1));
    u32::try_from(scaled).unwrap_or(u32::MAX)
}

fn show(samples: &[Sample], args: &StatsArgs) -> Outcome {
    if args.format == Format::Json {
        return print_json(samples);
    }
    if !args.no_stream && std::io::stdout().is_terminal() {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(CLEAR.as_bytes())?;
    }
    print_table(&HEADER, samples.iter().map(|sample| row(sample, args.no_trunc)).collect())
}

fn row(sample: &Sample, whole: bool) -> Vec<String> {
    let stats = &sample.stats;
    let pair = |a: u64, b: u64| format!("{} / {}", Bytes(a), Bytes(b));
    vec![
        if whole { stats.id.clone() } else { short(&stats.id) },
        stats.name.clone(),
        format!("{:.2}%", sample.cpu_percent),
        pair(stats.memory, stats.memory_limit),
        format!("{:.2}%", sample.memory_percent),
        pair(stats.network_received, stats.network_sent),
        pair(stats.block_read, stats.block_written),
        stats.pids.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_one_processor() {
        assert_eq!(hundredths(500, 1_000), 5_000);
        assert_eq!(hundredths(3_000, 1_000), 30_000);
        assert_eq!(hundredths(1, 0), 10_000);
        assert_eq!(hundredths(u64::MAX, 1), u32::MAX);
    }
}
