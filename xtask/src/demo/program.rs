//! Where the program runs: on this machine, or on a host of a lab.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use wharf_lab::Wharf;

use crate::steps::{read, root};

/// The program that was built, and the place it runs in.
#[derive(Debug)]
pub(crate) enum Program<'a> {
    /// On this machine.
    Here(PathBuf),
    /// On a host of a lab.
    Lab(&'a Wharf),
}

// === impl Program ===

impl<'a> Program<'a> {
    /// The program at `binary`, run on this machine.
    pub(crate) fn on_this_machine(binary: PathBuf) -> Self {
        Self::Here(binary)
    }

    /// An instance on a host of a lab.
    pub(crate) fn on_lab_host(wharf: &'a Wharf) -> Self {
        Self::Lab(wharf)
    }

    /// How a person at the repository's root calls it.
    pub(crate) fn display(&self) -> String {
        match self {
            Self::Here(binary) => {
                let short = binary.strip_prefix(root()).unwrap_or(binary);
                short.display().to_string()
            }
            Self::Lab(_) => "wharf".to_owned(),
        }
    }

    /// Runs `wharf args…` and returns what it printed; anything but success is an error.
    pub(crate) fn run(&self, args: &[&str]) -> Result<String> {
        match self {
            Self::Here(binary) => read(Command::new(binary).args(args)),
            Self::Lab(wharf) => {
                let output = wharf.run(args)?;
                ensure!(output.is_success(), "wharf {}: {output:?}", args.join(" "));
                Ok(output.stdout)
            }
        }
    }
}
