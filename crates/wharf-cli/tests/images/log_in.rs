//! `wharf login`, and pulls from registries that want to know who asks.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::archive::{Layer, Layout};
use super::server::{ADDRESS, LIMIT, Server};
use super::site::Site;

/// `tester:secret`, as `htpasswd -nbB` writes it.
const USERS: &str = "tester:$2y$05$hOS4mhJStp1Vc.EX1aAf7.VtZuMQj49UVUfnG/eJF2vXJuI3wUSK.\n";
/// The same as `Authorization` has it.
const BASIC: &str = "Basic dGVzdGVyOnNlY3JldA==";
const TOKENS: &str = "127.0.0.1:5003";

fn archive(site: &Site) -> std::path::PathBuf {
    let base = Layer::new().tree(&site.rootfs).file("which", "secret").build();
    let layout = Layout::default().image("x:1", &[base], json!({"Cmd": ["cat", "/which"]}));
    layout.write(site.lab.directory(), "x.tar")
}

/// A registry with users, and a directory for `config.json`.
fn with_users(site: &Site) -> Option<Server> {
    let users = site.lab.directory().join("users");
    std::fs::write(&users, USERS).unwrap();
    let auth = format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", users.display());
    let server = Server::start(site, &auth)?;
    server.fill(&archive(site), "x:1", &["--dest-creds", "tester:secret"]);
    Some(server)
}

fn login(site: &Site, password: &str, more: &[&str]) -> wharf_lab::Output {
    let mut line = vec!["login", "-u", "tester", "--password-stdin"];
    line.extend(more);
    let mut login = site.wharf.spawn(line).unwrap();
    login.feed(format!("{password}\n").as_bytes()).unwrap();
    login.output(LIMIT).unwrap()
}

fn config(site: &Site) -> Value {
    let file = site.lab.directory().join("nobody/config.json");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

#[test]
fn a_registry_with_users_is_pulled_from_after_a_login_and_not_after_the_logout() {
    let Some(site) = Site::new("basic") else { return };
    let Some(_server) = with_users(&site) else { return };
    let name = format!("{ADDRESS}/x:1");
    let refused = site.wharf.fails(["run", "--rm", &name]);
    assert_eq!(refused.code(), 125);
    let text = format!(
        "pull access denied for {ADDRESS}/x, repository does not exist or may require 'wharf login {ADDRESS}'"
    );
    assert!(refused.stderr.contains(&text), "{refused:?}");

    let wrong = login(&site, "wrong", &[ADDRESS]);
    assert_eq!(wrong.code(), 1, "{wrong:?}");
    assert!(wrong.stderr.contains("unauthorized"), "{wrong:?}");
    assert!(!site.lab.directory().join("nobody/config.json").exists());
    let good = login(&site, "secret", &[ADDRESS]);
    assert_eq!(good.stdout, "Login Succeeded\n", "{good:?}");
    assert!(good.stderr.contains("stored unencrypted"), "{good:?}");
    let file = site.lab.directory().join("nobody/config.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(config(&site)["auths"][ADDRESS]["auth"], BASIC["Basic ".len()..]);

    assert_eq!(site.wharf.ok(["run", "--rm", "-q", &name]), "secret");
    let logs = std::fs::read_to_string(site.wharf.state_dir().join("daemon.log")).unwrap();
    assert!(!logs.contains("secret") && !logs.contains(&BASIC[6..]), "{logs}");
    assert_eq!(
        site.wharf.ok(["logout", ADDRESS]),
        format!("Removing login credentials for {ADDRESS}")
    );
    assert_eq!(site.wharf.ok(["logout", ADDRESS]), format!("Not logged in to {ADDRESS}"));
    site.wharf.fails(["pull", &name]);
}

#[test]
fn a_credential_helper_is_asked_told_and_never_by_the_daemon() {
    let Some(site) = Site::new("helper") else { return };
    let Some(_server) = with_users(&site) else { return };
    let directory = site.lab.directory().join("nobody");
    std::fs::create_dir(&directory).unwrap();
    let kept = directory.join("kept");
    let helper = format!(
        "#!/bin/sh\ncase $1 in\nstore) cat > {kept} ;;\nget) cat > /dev/null; [ -e {kept} ] && cat {kept} || \
         {{ echo 'credentials not found in native keychain'; exit 1; }} ;;\nerase) rm {kept} ;;\nesac\n",
        kept = kept.display()
    );
    let program = directory.join("docker-credential-testing");
    std::fs::write(&program, helper).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let text = json!({"credsStore": "testing", "other": {"kept": 1}});
    std::fs::write(directory.join("config.json"), text.to_string()).unwrap();

    // A daemon that has no such program on its path.
    site.wharf.ok(["images"]);
    let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
    let run = |line: &[&str], input: &[u8]| {
        let mut command = site.wharf.command(line);
        command.env("PATH", &path).stdin(Stdio::piped());
        let mut process = site.host.spawn(command).unwrap();
        process.feed(input).unwrap();
        process.output(LIMIT).unwrap()
    };
    let line = ["login", "-u", "tester", "--password-stdin", ADDRESS];
    let output = run(&line, b"secret");
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("Login Succeeded\n", ""));
    assert_eq!(config(&site)["auths"][ADDRESS], json!({}));
    assert_eq!(config(&site)["other"], json!({"kept": 1}), "what is not ours stays");
    let stored: Value = serde_json::from_slice(&std::fs::read(&kept).unwrap()).unwrap();
    assert_eq!((&stored["Username"], &stored["Secret"]), (&json!("tester"), &json!("secret")));
    let name = format!("{ADDRESS}/x:1");
    let output = run(&["run", "--rm", "-q", &name], b"");
    assert_eq!(output.stdout, "secret", "{output:?}");
    assert!(run(&["logout", ADDRESS], b"").is_success());
    assert!(!kept.exists());
    let without = site.wharf.fails(["pull", &name]);
    assert!(without.stderr.contains("docker-credential-testing is not to be found"), "{without:?}");
}

/// The parts of a token server: a key, its certificate, and who asked.
struct Tokens {
    asked: Arc<Mutex<Vec<String>>>,
}

fn openssl(site: &Site, line: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("openssl")
        .args(line)
        .current_dir(site.lab.directory())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let mut word = [0; 4];
        word[1..=three.len()].copy_from_slice(three);
        let word = u32::from_be_bytes(word);
        for digit in 0..=three.len() {
            text.push(char::from(DIGITS[(word >> (18 - 6 * digit) & 63) as usize]));
        }
    }
    text
}

impl Tokens {
    /// Gives tokens for pulling to `tester`, and for nothing to others.
    fn start(site: &Site) -> Self {
        let line = "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=test -days 2";
        openssl(site, &line.split(' ').collect::<Vec<_>>(), b"");
        let certificate = openssl(site, &["x509", "-in", "cert.pem", "-outform", "DER"], b"");
        let certificate = openssl(site, &["base64", "-A"], &certificate);
        let header = json!({"typ": "JWT", "alg": "RS256",
            "x5c": [String::from_utf8(certificate).unwrap()]});
        let listener = site.host.tcp_listen(TOKENS).unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (log, directory) = (asked.clone(), site.lab.directory().to_owned());
        std::thread::spawn(move || serve(&listener, &directory, &header, &log));
        Self { asked }
    }
}

fn serve(listener: &TcpListener, directory: &Path, header: &Value, asked: &Mutex<Vec<String>>) {
    // It ends with the process of the test.
    for stream in listener.incoming().flatten() {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut line, mut known) = (String::new(), false);
        reader.read_line(&mut line).unwrap();
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).unwrap();
            if header.trim().is_empty() {
                break;
            }
            known |= header.trim().to_ascii_lowercase().starts_with("authorization:")
                && header.trim().ends_with(BASIC);
        }
        asked.lock().unwrap().push(format!("{known} {}", line.trim()));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let actions: &[&str] = if known { &["pull"] } else { &[] };
        let access = json!([{"type": "repository", "name": "x", "actions": actions}]);
        let claims = json!({"iss": "tests", "sub": "tester", "aud": "registry",
            "exp": now.as_secs() + 60, "nbf": now.as_secs() - 5, "iat": now.as_secs(),
            "jti": "1", "access": access});
        let text = format!(
            "{}.{}",
            base64(header.to_string().as_bytes()),
            base64(claims.to_string().as_bytes())
        );
        let mut child = Command::new("openssl")
            .args(["dgst", "-sha256", "-sign", "key.pem"])
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let signature = child.wait_with_output().unwrap().stdout;
        let body = json!({"token": format!("{text}.{}", base64(&signature))}).to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let mut stream = stream;
        stream.write_all((head + &body).as_bytes()).unwrap();
    }
}

#[test]
fn a_token_server_is_asked_for_what_the_registry_wants() {
    let Some(site) = Site::new("token") else { return };
    // Filled while nobody asks who it is.
    let Some(server) = Server::start(&site, "") else { return };
    server.fill(&archive(&site), "x:1", &[]);
    drop(server);
    let tokens = Tokens::start(&site);
    let auth = format!(
        "auth:\n  token:\n    realm: http://{TOKENS}/token\n    service: registry\n    issuer: tests\n    \
         rootcertbundle: {}\n",
        site.lab.directory().join("cert.pem").display()
    );
    let Some(_server) = Server::start(&site, &auth) else { return };
    let name = format!("{ADDRESS}/x:1");
    let refused = site.wharf.fails(["pull", &name]);
    assert!(refused.stderr.contains("pull access denied"), "{refused:?}");
    let asked = tokens.asked.lock().unwrap().clone();
    assert_eq!(asked, ["false GET /token?service=registry&scope=repository%3Ax%3Apull HTTP/1.1"]);
    let good = login(&site, "secret", &[ADDRESS]);
    assert_eq!(good.stdout, "Login Succeeded\n", "{good:?}");
    assert_eq!(site.wharf.ok(["run", "--rm", "-q", &name]), "secret");
    let asked = tokens.asked.lock().unwrap().clone();
    assert!(
        asked.last().unwrap().starts_with("true GET /token?service=registry&scope="),
        "{asked:?}"
    );
}
