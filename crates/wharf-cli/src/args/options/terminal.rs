//! Flags of `run` and `create`: its terminal, its standard input and its log.

use std::collections::BTreeMap;

use clap::Args;
use wharf_api::options::Terminal;

use crate::attach::Streams;
use crate::failure::Exit;

/// What a new container is told of its terminal, its standard input and its log.
#[derive(Debug, Args)]
#[command(next_help_heading = "Terminal, standard input and log")]
pub(crate) struct TerminalOptions {
    /// Keep standard input open, and feed it when attached
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Make the standard streams a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Attach to this stream only: stdin, stdout or stderr (repeatable)
    #[arg(short, long, value_name = "STREAM")]
    pub(crate) attach: Vec<String>,
    /// Where output is kept: json-file, the only choice
    #[arg(long, value_name = "DRIVER")]
    pub(crate) log_driver: Option<String>,
    /// How much of it: max-size=SIZE (default 20m; -1 for no limit), max-file=NUMBER (default 5)
    #[arg(long = "log-opt", value_name = "NAME=VALUE")]
    pub(crate) log_options: Vec<String>,
    /// It is to run in the background.
    #[arg(skip)]
    pub(crate) detached: bool,
}

// === impl TerminalOptions ===

impl TerminalOptions {
    /// The streams that are attached while it runs in the foreground, by Docker's rules.
    pub(crate) fn streams(&self) -> Result<Streams, Exit> {
        if self.attach.is_empty() {
            return Ok(Streams { stdin: self.interactive, stdout: true, stderr: true });
        }
        if self.detached {
            return Err(Exit::at_run(
                "conflicting options: cannot specify both --attach and --detach",
            ));
        }
        let mut streams = Streams::default();
        for name in &self.attach {
            match name.to_ascii_lowercase().as_str() {
                // Without -i there is none to attach to.
                "stdin" => streams.stdin = self.interactive,
                "stdout" => streams.stdout = true,
                "stderr" => streams.stderr = true,
                _ => {
                    return Err(Exit::at_run(format!(
                        "invalid value {name:?} for --attach: valid streams are STDIN, STDOUT and STDERR"
                    )));
                }
            }
        }
        Ok(streams)
    }

    /// The same as the API takes it.
    pub(crate) fn request(self) -> Result<Terminal, Exit> {
        let streams = self.streams()?;
        Ok(Terminal {
            stdin: self.interactive,
            stdin_once: streams.stdin && !self.detached,
            tty: self.tty,
            log_driver: self.log_driver,
            log_options: log_options(&self.log_options)?,
        })
    }
}

fn log_options(given: &[String]) -> Result<BTreeMap<String, String>, Exit> {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(Exit::at_run(format!("invalid log opt {text:?}: use NAME=VALUE"))),
    };
    given.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: TerminalOptions,
    }

    fn streams(line: &[&str]) -> Option<(bool, bool, bool)> {
        let words = std::iter::once(&"x").chain(line);
        let streams = Line::try_parse_from(words).unwrap().options.streams().ok()?;
        Some((streams.stdin, streams.stdout, streams.stderr))
    }

    #[test]
    fn streams_are_attached_by_dockers_rules() {
        assert_eq!(streams(&[]), Some((false, true, true)));
        assert_eq!(streams(&["-i"]), Some((true, true, true)));
        assert_eq!(streams(&["-it"]), Some((true, true, true)));
        assert_eq!(streams(&["-a", "stdout"]), Some((false, true, false)));
        assert_eq!(streams(&["-a", "STDERR"]), Some((false, false, true)));
        assert_eq!(streams(&["-i", "-a", "stdin"]), Some((true, false, false)));
        assert_eq!(streams(&["-i", "-a", "stdout"]), Some((false, true, false)));
        assert_eq!(streams(&["-a", "stdin"]), Some((false, false, false)));
        assert_eq!(streams(&["-a", "stdlog"]), None);
    }

    #[test]
    fn input_ends_with_the_one_who_feeds_it_from_the_start() {
        let request = |line: &[&str], detached| {
            let words = std::iter::once(&"x").chain(line);
            let mut options = Line::try_parse_from(words).unwrap().options;
            options.detached = detached;
            let request = options.request().unwrap();
            (request.stdin, request.stdin_once)
        };
        assert_eq!(request(&["-i"], false), (true, true));
        assert_eq!(request(&["-i"], true), (true, false));
        assert_eq!(request(&["-i", "-a", "stdout"], false), (true, false));
        assert_eq!(request(&[], false), (false, false));
    }
}
