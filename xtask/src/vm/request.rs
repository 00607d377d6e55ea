//! What is asked of the guest: packages whose tests run there, and words their names contain.

use anyhow::{Context, Result, bail};

/// What speaks to the kernel and differs most between releases of it.
const PACKAGES: [&str; 3] = ["wharf-ebpf", "wharf-nft", "wharf-relay"];

/// What `cargo xtask test --vm` was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// The packages whose tests run.
    pub(crate) packages: Vec<String>,
    /// Only tests whose names contain one of these run; all do when there is none.
    pub(crate) words: Vec<String>,
    /// Whether the whole program is tried, too: unless single tests are asked for.
    pub(crate) tries_program: bool,
}

// === impl Request ===

impl Request {
    /// Reads `-p PACKAGE` and words.
    ///
    /// # Errors
    /// When there is anything else: what cargo-nextest knows besides, the guest does not.
    pub(crate) fn parse(args: &[String]) -> Result<Self> {
        let (mut packages, mut words) = (Vec::new(), Vec::new());
        let mut rest = args.iter().map(String::as_str);
        while let Some(arg) = rest.next() {
            match arg {
                "-p" | "--package" => {
                    packages.push(rest.next().with_context(|| format!("{arg} names no package"))?);
                }
                _ => match arg.strip_prefix("--package=").or_else(|| arg.strip_prefix("-p")) {
                    Some(package) => packages.push(package),
                    None if arg.starts_with('-') => {
                        bail!("--vm takes `-p PACKAGE` and words of tests' names, not {arg}")
                    }
                    None => words.push(arg),
                },
            }
        }
        let tries_program = words.is_empty();
        if packages.is_empty() {
            packages.extend(PACKAGES);
        }
        let owned = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect();
        Ok(Self { packages: owned(packages), words: owned(words), tries_program })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Request> {
        Request::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn without_a_word_it_is_everything_that_differs_between_kernels() {
        let request = parse("").unwrap();
        assert_eq!(request.packages, PACKAGES);
        assert!(request.words.is_empty() && request.tries_program);
    }

    #[test]
    fn packages_and_words_narrow_it() {
        let request = parse("-p wharf-nft --package=wharf-host -pwharf-cli owner steer").unwrap();
        assert_eq!(request.packages, ["wharf-nft", "wharf-host", "wharf-cli"]);
        assert_eq!(request.words, ["owner", "steer"]);
        assert!(!request.tries_program);
        assert_eq!(parse("owner").unwrap().packages, PACKAGES);
        assert!(parse("-p wharf-nft").unwrap().tries_program);
    }

    #[test]
    fn what_only_nextest_knows_is_refused() {
        let refused = parse("--no-fail-fast").unwrap_err().to_string();
        assert!(refused.contains("not --no-fail-fast"), "{refused}");
        assert!(parse("-p").is_err());
    }
}
