//! The machine: QEMU without hardware help, without a network, with two serial lines.
//!
//! The first line is the kernel's and goes to a file; on the second the guest says how tests ended.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::debian::Debian;
use super::report::Report;

/// For all of it: some ten minutes on two cores that have nothing else to do.
pub(crate) const LIFE: Duration = Duration::from_secs(30 * 60);

/// For the first word of the guest, which is up in some ten seconds.
const BOOT_LIMIT: Duration = Duration::from_secs(120);

/// For any word: longer than the guest gives a single test.
const SILENCE_LIMIT: Duration = Duration::from_secs(150);

/// For the end after the last word.
const END_LIMIT: Duration = Duration::from_secs(20);

/// What tests need besides room for the files, in MiB.
const MEMORY: u64 = 1024;

/// Lines that wait to be read.
const QUEUE: usize = 64;

/// Lines of the kernel's that are shown when the guest came to no end.
const LAST_WORDS: usize = 30;

/// A machine that has not been switched on.
#[derive(Debug)]
pub(crate) struct Guest<'a> {
    pub(crate) debian: &'a Debian,
    pub(crate) initrd: &'a Path,
    /// Of the initial file system, in bytes.
    pub(crate) size: u64,
    /// Where the kernel's words go.
    pub(crate) console: &'a Path,
}

/// QEMU, which does not outlive this.
#[derive(Debug)]
struct Running {
    process: Child,
}

// === impl Guest ===

impl Guest<'_> {
    /// Switches it on, follows what it says, and waits until it has switched itself off.
    ///
    /// # Errors
    /// When it cannot be started or does not come to its end in time.
    pub(crate) fn run(&self) -> Result<Report> {
        let mut report = Report::default();
        let mut running = Running { process: self.command()?.spawn().context("start QEMU")? };
        let said = running.process.stdout.take().context("QEMU has no output")?;
        match follow(&lines(said), &mut report) {
            Ok(()) => running.wait(),
            Err(error) => Err(error.context(self.last_words())),
        }?;
        Ok(report)
    }

    fn command(&self) -> Result<Command> {
        let mut command = self.debian.command("qemu-system-x86_64")?;
        // Room for the archive and for what is unpacked from it.
        let memory = format!("{}M", MEMORY + (self.size >> 20) * 2);
        let console = format!("file:{}", self.console.display());
        let fixed = ["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"];
        command
            .args(fixed)
            .args(["-nodefaults", "-nic", "none", "-display", "none", "-monitor", "none"])
            .args(["-no-reboot", "-m", &memory, "-serial", &console, "-serial", "stdio"])
            .args(["-append", "console=ttyS0 quiet panic=-1 mitigations=off"])
            .arg("-kernel")
            .arg(self.debian.vmlinuz())
            .arg("-initrd")
            .arg(self.initrd);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        Ok(command)
    }

    fn last_words(&self) -> String {
        let text = fs::read(self.console).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let all: Vec<&str> = text.lines().collect();
        let last = all.get(all.len().saturating_sub(LAST_WORDS)..).unwrap_or_default();
        format!("the guest's console ({}) ended with:\n{}", self.console.display(), last.join("\n"))
    }
}

/// Reads until the guest says that it is done.
fn follow(lines: &Receiver<String>, report: &mut Report) -> Result<()> {
    let start = Instant::now();
    while !report.is_done() {
        let patience = if report.is_empty() { BOOT_LIMIT } else { SILENCE_LIMIT };
        let left = LIFE.saturating_sub(start.elapsed());
        match lines.recv_timeout(patience.min(left)) {
            Ok(line) => report.take(&line),
            Err(RecvTimeoutError::Disconnected) => {
                anyhow::bail!("the guest ended before its tests did{}", report.place());
            }
            Err(RecvTimeoutError::Timeout) => anyhow::bail!(
                "the guest said nothing for {} s, {} s after its start{}",
                patience.min(left).as_secs(),
                start.elapsed().as_secs(),
                report.place()
            ),
        }
    }
    Ok(())
}

/// What is said, line by line; the queue ends with the guest.
fn lines(said: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = sync_channel(QUEUE);
    thread::spawn(move || {
        for line in BufReader::new(said).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

// === impl Running ===

impl Running {
    fn wait(&mut self) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < END_LIMIT {
            if self.process.try_wait().context("wait for QEMU")?.is_some() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        println!("the guest did not switch itself off within {} s", END_LIMIT.as_secs());
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended, or it ends now; there is nobody left to tell.
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}
