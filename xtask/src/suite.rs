//! `cargo xtask test`: the whole test suite, on a machine that may lack everything it needs.

use anyhow::Result;

use crate::prerequisites;
use crate::steps::{cargo, run};

/// Installs what is missing, then runs the tests with cargo-nextest.
pub(crate) fn run_tests(args: &[String]) -> Result<()> {
    prerequisites::compilers()?;
    prerequisites::nextest()?;
    prerequisites::packages()?;
    run(cargo().args(nextest_arguments(args)))
}

fn nextest_arguments(args: &[String]) -> Vec<String> {
    let mut line = vec!["nextest".to_owned(), "run".to_owned(), "--locked".to_owned()];
    if !args.iter().any(|arg| selects_packages(arg)) {
        line.push("--workspace".to_owned());
    }
    line.extend_from_slice(args);
    line
}

fn selects_packages(arg: &str) -> bool {
    arg.starts_with("-p") || arg.starts_with("--package") || arg == "--workspace"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(args: &[&str]) -> String {
        nextest_arguments(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>()).join(" ")
    }

    #[test]
    fn the_whole_workspace_unless_packages_are_named() {
        assert_eq!(line(&[]), "nextest run --locked --workspace");
        assert_eq!(line(&["hairpin"]), "nextest run --locked --workspace hairpin");
        assert_eq!(line(&["-p", "wharf-spec"]), "nextest run --locked -p wharf-spec");
    }
}
