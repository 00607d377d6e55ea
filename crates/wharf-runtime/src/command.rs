//! What a container runs: the image's wishes and the user's, merged as Docker merges them.

use crate::error::{Error, Result};
use crate::image::ImageConfig;

/// Docker's search path for images that set none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the user said on the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--entrypoint`; an empty list (`--entrypoint ""`) means none at all.
    pub entrypoint: Option<Vec<String>>,
    /// The words after the image.
    pub cmd: Vec<String>,
    /// `--env`: `NAME=value`, or `NAME` alone to take a variable of the image away.
    pub env: Vec<String>,
    /// `--user`.
    pub user: Option<String>,
    /// `--workdir`.
    pub workdir: Option<String>,
}

/// What is to be run, and as what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Command and arguments, never empty.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// An absolute path.
    pub workdir: String,
    /// `name|uid[:group|gid]`, or empty for root.
    pub user: String,
}

// === impl Command ===

impl Command {
    /// Merges `overrides` over `config`.
    ///
    /// # Errors
    /// Neither names a command, or the working directory is not absolute.
    pub fn merge(config: &ImageConfig, overrides: &Overrides, hostname: &str) -> Result<Self> {
        let workdir = overrides.workdir.clone().unwrap_or_else(|| config.workdir.clone());
        let mut env = vec![format!("PATH={DEFAULT_PATH}"), format!("HOSTNAME={hostname}")];
        set_variables(&mut env, &config.env);
        set_variables(&mut env, &overrides.env);
        Ok(Self {
            args: arguments(config, overrides)?,
            env,
            workdir: absolute(workdir)?,
            user: overrides.user.clone().unwrap_or_else(|| config.user.clone()),
        })
    }
}

/// An entrypoint of the user's own makes the image's arguments meaningless.
fn arguments(config: &ImageConfig, overrides: &Overrides) -> Result<Vec<String>> {
    let (entrypoint, default) = match &overrides.entrypoint {
        Some(own) => (own, &[][..]),
        None => (&config.entrypoint, config.cmd.as_slice()),
    };
    let cmd = if overrides.cmd.is_empty() { default } else { &overrides.cmd };
    let args: Vec<String> = entrypoint.iter().chain(cmd).cloned().collect();
    match args.first() {
        Some(command) if !command.is_empty() => Ok(args),
        _ => Err(Error::Spec("no command specified".to_owned())),
    }
}

fn absolute(workdir: String) -> Result<String> {
    match workdir.as_str() {
        "" => Ok("/".to_owned()),
        path if path.starts_with('/') => Ok(workdir),
        path => Err(Error::Spec(format!(
            "the working directory '{path}' is invalid, it needs to be an absolute path"
        ))),
    }
}

/// Puts `changes` over `env`: replaces in place, appends, or removes what has no `=`.
pub(crate) fn set_variables(env: &mut Vec<String>, changes: &[String]) {
    for change in changes {
        let name = name_of(change);
        let place = env.iter().position(|have| name_of(have) == name);
        match (place, change.contains('=')) {
            (Some(index), true) => {
                if let Some(slot) = env.get_mut(index) {
                    slot.clone_from(change);
                }
            }
            (Some(index), false) => {
                env.remove(index);
            }
            (None, true) => env.push(change.clone()),
            (None, false) => {}
        }
    }
}

/// The value of `name`, if it is set.
pub(crate) fn variable<'a>(env: &'a [String], name: &str) -> Option<&'a str> {
    env.iter().find_map(|entry| entry.split_once('=').filter(|(n, _)| *n == name).map(|(_, v)| v))
}

fn name_of(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn args(entrypoint: &str, cmd: &str, own: Option<&str>, own_cmd: &str) -> Result<Vec<String>> {
        let config = ImageConfig {
            entrypoint: words(entrypoint),
            cmd: words(cmd),
            ..ImageConfig::default()
        };
        let overrides =
            Overrides { entrypoint: own.map(words), cmd: words(own_cmd), ..Overrides::default() };
        Command::merge(&config, &overrides, "h").map(|command| command.args)
    }

    #[test]
    fn arguments_merge_as_in_docker() {
        let cases = [
            (("", "sh", None, ""), "sh"),
            (("", "sh", None, "ls -l"), "ls -l"),
            (("e x", "c", None, ""), "e x c"),
            (("e x", "c", None, "d"), "e x d"),
            (("e", "c", Some("f"), ""), "f"),
            (("e", "c", Some("f"), "d"), "f d"),
            (("e", "c", Some(""), "d"), "d"),
        ];
        for ((entrypoint, cmd, own, own_cmd), want) in cases {
            assert_eq!(args(entrypoint, cmd, own, own_cmd).unwrap(), words(want));
        }
        for own in [None, Some("")] {
            let error = args("", "", own, "").unwrap_err();
            assert_eq!(error.to_string(), "no command specified");
        }
        assert!(args("e", "c", Some(""), "").is_err());
    }

    #[test]
    fn variables_are_replaced_in_place_and_can_be_taken_away() {
        let config = ImageConfig { env: words("PATH=/x A=1 B=2"), ..ImageConfig::default() };
        let overrides =
            Overrides { cmd: words("c"), env: words("A C=3 B=4 D"), ..Overrides::default() };
        let command = Command::merge(&config, &overrides, "box").unwrap();
        assert_eq!(command.env, words("PATH=/x HOSTNAME=box B=4 C=3"));
        assert_eq!(variable(&command.env, "C"), Some("3"));
        assert_eq!(command.workdir, "/");
    }

    #[test]
    fn a_relative_working_directory_is_refused() {
        let overrides =
            Overrides { cmd: words("c"), workdir: Some("a".to_owned()), ..Overrides::default() };
        assert!(Command::merge(&ImageConfig::default(), &overrides, "h").is_err());
    }
}
