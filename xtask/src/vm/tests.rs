//! What runs in the guest, as cargo builds it.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::request::Request;
use crate::steps::cargo;

/// Everything that is built: test binaries to run, and programs that they or the check call.
#[derive(Debug)]
pub(crate) struct Suites {
    /// What is run, in the order of the packages that were asked for.
    pub(crate) binaries: Vec<Binary>,
    /// What is only there.
    pub(crate) programs: Vec<PathBuf>,
    /// The program itself.
    pub(crate) wharf: PathBuf,
}

/// One test binary.
#[derive(Debug)]
pub(crate) struct Binary {
    /// `wharf-nft::nft`, or `wharf-nft` for the tests inside the crate.
    pub(crate) name: String,
    /// Where it is, here and in the guest.
    pub(crate) path: PathBuf,
    /// Where it runs, as under cargo.
    pub(crate) directory: PathBuf,
}

#[derive(Debug, PartialEq, Eq)]
struct Artifact {
    package: String,
    target: String,
    path: PathBuf,
    manifest: PathBuf,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Tests inside a library or a program.
    Unit,
    /// Tests of a file below `tests`.
    Integration,
    /// Not tests.
    Program,
}

/// Builds the program and the tests that were asked for.
///
/// # Errors
/// When they do not build.
pub(crate) fn build(request: &Request) -> Result<Suites> {
    println!("building the program and the tests of {}", request.packages.join(", "));
    let mut tests = vec!["test", "--no-run"];
    tests.extend(request.packages.iter().flat_map(|package| ["--package", package]));
    let mut found = artifacts(&tests)?;
    let place = |package: &str| request.packages.iter().position(|asked| asked == package);
    found.sort_by_cached_key(|it| (place(&it.package), it.target.clone()));
    let program = artifacts(&["build", "--package", "wharf-cli"])?;
    let wharf = program.iter().find(|it| it.kind == Kind::Program && it.target == "wharf");
    let wharf = wharf.context("cargo did not build the program wharf")?.path.clone();
    let (programs, binaries): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|it| it.kind == Kind::Program);
    ensure!(!binaries.is_empty(), "{} have no tests", request.packages.join(", "));
    let programs = programs.into_iter().map(|it| it.path).collect();
    Ok(Suites { binaries: binaries.into_iter().map(Binary::from).collect(), programs, wharf })
}

/// Every executable that a cargo command makes.
fn artifacts(line: &[&str]) -> Result<Vec<Artifact>> {
    let mut command = cargo();
    command.args(line).args(["--locked", "--message-format=json-render-diagnostics"]);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.context("cannot start cargo")?;
    ensure!(output.status.success(), "`cargo {}` ended with {}", line.join(" "), output.status);
    let text = String::from_utf8(output.stdout).context("read what cargo wrote")?;
    Ok(text.lines().filter_map(artifact).collect())
}

fn artifact(line: &str) -> Option<Artifact> {
    let message: Value = serde_json::from_str(line).ok()?;
    let text = |pointer: &str| message.pointer(pointer)?.as_str().map(str::to_owned);
    let path = PathBuf::from(text("/executable")?);
    let manifest = PathBuf::from(text("/manifest_path")?);
    let package = manifest.parent()?.file_name()?.to_str()?.to_owned();
    let has_tests = message.pointer("/profile/test")?.as_bool()?;
    let kind = match text("/target/kind/0")?.as_str() {
        "test" => Kind::Integration,
        _ if has_tests => Kind::Unit,
        _ => Kind::Program,
    };
    Some(Artifact { package, target: text("/target/name")?, path, manifest, kind })
}

// === impl Binary ===

impl From<Artifact> for Binary {
    fn from(artifact: Artifact) -> Self {
        let Artifact { package, target, path, manifest, kind } = artifact;
        let name = if kind == Kind::Unit { package } else { format!("{package}::{target}") };
        Self { name, path, directory: manifest.parent().unwrap_or(&manifest).to_owned() }
    }
}
