//! Builds the eBPF programs with clang, unless they are not wanted.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

const REMEDY: &str =
    "apt-get install clang llvm libbpf-dev linux-libc-dev, or build with --no-default-features";

/// What maps look like is said here; programs of two releases share them where these are the same.
const LAYOUT: [&str; 2] = ["types.h", "maps.h"];

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_PROGRAMS").is_none() {
        return ExitCode::SUCCESS;
    }
    println!("cargo::rerun-if-changed=bpf");
    println!("cargo::rerun-if-env-changed=CLANG");
    println!("cargo::rerun-if-env-changed=LLVM_STRIP");
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            for line in reason.lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let out = env::var_os("OUT_DIR").ok_or("cargo names no directory for what is built")?;
    let object = Path::new(&out).join("wharf.bpf.o");
    compile(&object)?;
    // BTF stays; what a debugger would want goes, and with it most of the size.
    run("LLVM_STRIP", "llvm-strip", |strip| strip.arg("-g").arg(&object))?;
    println!("cargo::rustc-env=WHARF_EBPF_LAYOUT={:016x}", layout()?);
    Ok(())
}

fn compile(object: &Path) -> Result<(), String> {
    run("CLANG", "clang", |clang| {
        // v3 is what Linux 5.1 and later have: jumps on half registers and atomic additions.
        let flags = ["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Wextra"];
        clang.current_dir("bpf").args(flags).arg("-Wno-unused-parameter");
        if let Some(directory) = architecture_headers() {
            clang.arg("-idirafter").arg(directory);
        }
        clang.args(["-c", "wharf.bpf.c", "-o"]).arg(object)
    })
}

/// Debian keeps `asm/types.h` in a directory of the machine's kind, which clang does not look into
/// when it builds for another.
fn architecture_headers() -> Option<PathBuf> {
    let kind = env::var("CARGO_CFG_TARGET_ARCH").ok()?;
    let place = PathBuf::from(format!("/usr/include/{kind}-linux-gnu"));
    place.join("asm/types.h").is_file().then_some(place)
}

fn run(
    variable: &str,
    usual: &str,
    arguments: impl FnOnce(&mut Command) -> &mut Command,
) -> Result<(), String> {
    let program = env::var(variable).unwrap_or_else(|_| usual.to_owned());
    let outcome = arguments(&mut Command::new(&program)).output();
    explain(&program, outcome)
}

fn explain(program: &str, outcome: io::Result<Output>) -> Result<(), String> {
    let output = outcome.map_err(|error| {
        format!("the eBPF programs need {program}, which cannot be run ({error}): {REMEDY}")
    })?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        // Another release of clang may know other warnings; they are no reason not to build.
        said.lines().for_each(|line| println!("cargo::warning={line}"));
        return Ok(());
    }
    let missing = said.contains("file not found");
    let remedy = if missing { format!("\nheaders are missing: {REMEDY}") } else { String::new() };
    Err(format!("{program} failed: {said}{remedy}"))
}

/// FNV-1a of the files that say what maps look like.
fn layout() -> Result<u64, String> {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for file in LAYOUT {
        let text = fs::read(Path::new("bpf").join(file)).map_err(|e| format!("{file}: {e}"))?;
        for byte in text {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    Ok(hash)
}
