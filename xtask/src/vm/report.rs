//! What the guest says of its tests, line by line, as `run.sh` writes it.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// All that has been said so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    system: String,
    suites: Vec<Suite>,
    is_done: bool,
    /// What the test that ends next has said.
    output: Vec<String>,
    skipped: Option<String>,
}

/// The tests of one binary.
#[derive(Debug)]
struct Suite {
    name: String,
    start: Instant,
    took: Duration,
    passed: usize,
    ignored: usize,
    failed: Vec<String>,
    /// Names and reasons.
    skipped: Vec<(String, String)>,
}

// === impl Report ===

impl Report {
    /// Takes one line; failures and the ends of binaries are printed at once.
    pub(crate) fn take(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "system" => rest.clone_into(&mut self.system),
            "binary" => self.begin(rest),
            "|" => self.output.push(rest.to_owned()),
            "skipped" => self.skipped = Some(rest.to_owned()),
            "passed" | "failed" | "ignored" => self.end_of_test(word, rest),
            "done" => {
                self.tell_last();
                self.is_done = true;
            }
            _ => println!("{line}"),
        }
    }

    /// Whether the guest has said its last word.
    pub(crate) fn is_done(&self) -> bool {
        self.is_done
    }

    /// Whether it has said nothing yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.system.is_empty()
    }

    /// Where it is, for a message.
    pub(crate) fn place(&self) -> String {
        self.suites.last().map_or_else(String::new, |suite| format!(", in {}", suite.name))
    }

    /// Fails when a test did, or when there was none.
    ///
    /// # Errors
    /// With the number of failures.
    pub(crate) fn verdict(&self) -> Result<()> {
        let failed: usize = self.suites.iter().map(|suite| suite.failed.len()).sum();
        ensure!(failed == 0, "{failed} tests failed on Linux {}", self.system);
        let ran: usize = self.suites.iter().map(Suite::count).sum();
        ensure!(ran > 0, "no test has such a name");
        Ok(())
    }

    fn begin(&mut self, name: &str) {
        self.tell_last();
        self.suites.push(Suite::new(name));
    }

    fn tell_last(&mut self) {
        if let Some(suite) = self.suites.last_mut() {
            suite.took = suite.start.elapsed();
            println!("{suite}");
        }
    }

    fn end_of_test(&mut self, verdict: &str, rest: &str) {
        let (output, skipped) = (std::mem::take(&mut self.output), self.skipped.take());
        let Some(suite) = self.suites.last_mut() else { return };
        let (seconds, name) = rest.split_once(' ').unwrap_or(("0", rest));
        match (verdict, skipped) {
            ("failed", _) => {
                println!("  FAILED {name} after {seconds} s\n    {}", output.join("\n    "));
                suite.failed.push(name.to_owned());
            }
            ("ignored", _) => suite.ignored += 1,
            (_, Some(reason)) => suite.skipped.push((name.to_owned(), reason)),
            (_, None) => suite.passed += 1,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for suite in &self.suites {
            writeln!(f, "{suite}")?;
            for (name, reason) in &suite.skipped {
                writeln!(f, "           skipped {name}: {reason}")?;
            }
            for name in &suite.failed {
                writeln!(f, "           FAILED {name}")?;
            }
        }
        let total = |count: fn(&Suite) -> usize| self.suites.iter().map(count).sum::<usize>();
        write!(
            f,
            "on Linux {}: {} passed, {} failed, {} skipped",
            self.system,
            total(|suite| suite.passed),
            total(|suite| suite.failed.len()),
            total(|suite| suite.skipped.len())
        )
    }
}

// === impl Suite ===

impl Suite {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            start: Instant::now(),
            took: Duration::ZERO,
            passed: 0,
            ignored: 0,
            failed: Vec::new(),
            skipped: Vec::new(),
        }
    }

    fn count(&self) -> usize {
        self.passed + self.failed.len() + self.skipped.len()
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.failed.is_empty() { "passed" } else { "FAILED" };
        let Self { name, took, passed, ignored, failed, skipped, .. } = self;
        write!(f, "{verdict:>8}  {:>6.1} s  {name}: {passed} passed", took.as_secs_f64())?;
        for (count, what) in
            [(failed.len(), "failed"), (skipped.len(), "skipped"), (*ignored, "ignored")]
        {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(lines: &[&str]) -> Report {
        let mut report = Report::default();
        lines.iter().for_each(|line| report.take(line));
        report
    }

    #[test]
    fn every_end_is_counted_once() {
        let said = [
            "system 6.1.0-57-cloud-amd64",
            "binary wharf-nft::nft",
            "passed 0.5 one",
            "skipped nft is not installed",
            "passed 0.1 two",
            "ignored 0.1 three",
            "| assertion failed",
            "failed 1.0 four",
            "done 12.1",
        ];
        let report = report(&said);
        assert!(report.is_done());
        let text = report.to_string();
        let line = "FAILED     0.0 s  wharf-nft::nft: 1 passed, 1 failed, 1 skipped, 1 ignored";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("skipped two: nft is not installed"), "{text}");
        assert!(report.verdict().unwrap_err().to_string().contains("1 tests failed on Linux 6.1"));
    }

    #[test]
    fn no_test_at_all_is_no_success() {
        let report = report(&["system 6.1", "binary wharf-nft", "done 7.0"]);
        assert!(report.verdict().is_err());
        assert_eq!(report.place(), ", in wharf-nft");
    }

    #[test]
    fn all_passed_is_a_success() {
        report(&["system 6.1", "binary a", "passed 0.1 b", "done 7.0"]).verdict().unwrap();
    }
}
