//! `login` and `logout`.

use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

use wharf_api::{LoginRequest, RegistryCredential};

use super::config::{Config, DOCKER_HUB, Kept, key};
use crate::args::{LoginArgs, LogoutArgs};
use crate::connect::Session;
use crate::failure::{Exit, Outcome, print_line};

/// `wharf login`.
pub(crate) async fn login(session: &Session, args: LoginArgs) -> Outcome {
    let registry = registry(args.registry.as_deref())?;
    let mut config = Config::load()?;
    let username = match args.username {
        Some(username) => username,
        None if args.password_stdin => {
            return Err(Exit::failed("must provide --username with --password-stdin"));
        }
        None => ask("Username: ")?,
    };
    let password = match args.password {
        Some(password) => {
            eprintln!("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
            password
        }
        None if args.password_stdin => piped_password()?,
        None => ask_hidden("Password: ")?,
    };
    if username.is_empty() || password.is_empty() {
        return Err(Exit::failed("username and password must not be empty"));
    }
    if username.contains(':') {
        return Err(Exit::failed("no username can have a colon in it"));
    }
    let credential = RegistryCredential::Password { username, password };
    let request = LoginRequest { registry: registry.clone(), credential: credential.clone() };
    let _good: serde_json::Value = session.post("/v1/login", &request).await?;
    if let Kept::InFile(path) = config.keep(&registry, &credential).await? {
        eprintln!("WARNING! Your password will be stored unencrypted in {}.", path.display());
        eprintln!("Configure a credential helper to remove this warning.");
    }
    print_line("Login Succeeded")?;
    Ok(ExitCode::SUCCESS)
}

/// `wharf logout`.
pub(crate) async fn logout(args: LogoutArgs) -> Outcome {
    let registry = registry(args.registry.as_deref())?;
    let mut config = Config::load()?;
    match config.forget(&registry).await? {
        true => print_line(&format!("Removing login credentials for {}", key(&registry)))?,
        false => print_line(&format!("Not logged in to {}", key(&registry)))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The host of what was typed: hands write a scheme in front of it.
fn registry(given: Option<&str>) -> Result<String, Exit> {
    let Some(given) = given else { return Ok(DOCKER_HUB.to_owned()) };
    let host = given.strip_prefix("https://").or_else(|| given.strip_prefix("http://"));
    let host = host.unwrap_or(given);
    let host = host.split('/').next().unwrap_or_default();
    match host {
        "" => Err(Exit::failed(format!("{given:?} is no registry: use HOST[:PORT]"))),
        "index.docker.io" | "registry-1.docker.io" => Ok(DOCKER_HUB.to_owned()),
        host => Ok(host.to_owned()),
    }
}

fn piped_password() -> Result<String, Exit> {
    let mut text = String::new();
    std::io::Read::read_to_string(&mut std::io::stdin(), &mut text)
        .map_err(|e| Exit::failed(format!("cannot read the password: {e}")))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn ask(prompt: &str) -> Result<String, Exit> {
    if !std::io::stdin().is_terminal() {
        return Err(Exit::failed(
            "cannot ask without a terminal: use --username and --password-stdin",
        ));
    }
    eprint!("{prompt}");
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|e| Exit::failed(format!("cannot read the answer: {e}")))?;
    Ok(line.trim().to_owned())
}

/// Asks without showing what is typed.
fn ask_hidden(prompt: &str) -> Result<String, Exit> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Exit::failed("cannot ask without a terminal: use --password-stdin"));
    }
    let failed = |e: rustix::io::Errno| Exit::failed(format!("cannot hide what is typed: {e}"));
    let before = tcgetattr(&stdin).map_err(failed)?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Now, &hidden).map_err(failed)?;
    let answer = ask(prompt);
    eprintln!();
    tcsetattr(&stdin, OptionalActions::Now, &before).map_err(failed)?;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_typed_in_many_ways() {
        let host = |text: &str| registry(Some(text)).unwrap();
        assert_eq!(registry(None).unwrap(), "docker.io");
        assert_eq!(host("https://index.docker.io/v1/"), "docker.io");
        assert_eq!(host("http://reg:5000/"), "reg:5000");
        assert_eq!(host("reg:5000"), "reg:5000");
        assert!(registry(Some("")).is_err());
    }
}
