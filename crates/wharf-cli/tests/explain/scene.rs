//! The scene of these tests, and what was explained in it.

use std::ops::Deref;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longer than anything here may honestly take.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct Scene(wharf_lab::Scene);

/// One way that was explained.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) code: i32,
    pub(crate) value: Value,
}

impl Scene {
    /// `None`, with a word why, where labs cannot be built.
    pub(crate) fn new(name: &str) -> Option<Self> {
        wharf_lab::Scene::builder(name, env!("CARGO_BIN_EXE_wharf")).build().map(Self)
    }

    /// The same scene without the eBPF plane.
    pub(crate) fn without_ebpf(self) -> Self {
        Self(self.0.with_env("WHARF_NO_EBPF", "true"))
    }

    /// The same scene with the API of an engine at `socket`.
    pub(crate) fn with_engine(self, variable: &str, socket: &Path) -> Self {
        Self(self.0.with_env(variable, &socket.display().to_string()))
    }

    /// The only way to `port`.
    pub(crate) fn way(&self, port: &str, from: Option<&str>) -> Way {
        let (code, found) = self.wharf.explain(port, from);
        let Value::Array(mut ways) = found else { panic!("not a list: {found}") };
        assert_eq!(ways.len(), 1, "{ways:?}");
        Way { code, value: ways.remove(0) }
    }

    /// The only way to `port` from the remote host.
    pub(crate) fn by_remote(&self, port: &str) -> Way {
        self.way(port, Some("10.1.0.1"))
    }

    /// Makes a fault again and again until the daemon, which puts things right, is late enough for
    /// it to be seen.
    pub(crate) fn until_seen(&self, fault: impl Fn(), hop: &str) -> Way {
        let began = Instant::now();
        loop {
            fault();
            let way = self.by_remote("8080");
            if way.fails_at() == hop {
                return way;
            }
            assert!(began.elapsed() < LIMIT, "never seen at {hop}: {way:?}");
        }
    }

    /// Asks until what is explained is as `wanted`; the daemon looks at some things every two
    /// seconds only.
    pub(crate) fn once(&self, port: &str, wanted: impl Fn(&Way) -> bool) -> Way {
        let began = Instant::now();
        loop {
            let way = self.by_remote(port);
            if wanted(&way) {
                return way;
            }
            assert!(began.elapsed() < LIMIT, "{way:?}");
            std::thread::sleep(PAUSE);
        }
    }

    /// Runs a program on the host, which must succeed; `false`, with a word, where it is missing.
    pub(crate) fn runs(&self, program: &str, args: &[&str]) -> bool {
        let mut command = Command::new(program);
        command.args(args);
        let Ok(output) = self.host.output(command, LIMIT) else {
            eprintln!("skipped: {program} is not installed");
            return false;
        };
        assert_eq!(output.code(), 0, "{program} {args:?}: {output:?}");
        true
    }
}

impl Way {
    /// The first hop that fails, or nothing.
    pub(crate) fn fails_at(&self) -> &str {
        self.value["fails_at"].as_str().unwrap_or_default()
    }

    /// What is said of a hop: its status, a colon, and what was seen.
    pub(crate) fn hop(&self, name: &str) -> String {
        let found = self.hops().iter().find(|hop| hop["hop"] == name);
        let hop = found.unwrap_or_else(|| panic!("no hop {name}: {self:?}"));
        format!("{}: {}", hop["status"].as_str().unwrap(), hop["text"].as_str().unwrap())
    }

    /// What is advised at a hop.
    pub(crate) fn remedy(&self, name: &str) -> String {
        let found = self.hops().iter().find(|hop| hop["hop"] == name).unwrap();
        let lines = found["remedy"].as_array().unwrap().iter();
        lines.map(|line| line.as_str().unwrap()).collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.hops().iter().any(|hop| hop["hop"] == name)
    }

    /// It works, and every hop says so.
    #[track_caller]
    pub(crate) fn works(self) -> Self {
        assert_eq!((self.code, self.fails_at()), (0, ""), "{self:#?}");
        for hop in self.hops() {
            assert_eq!(hop["status"], "ok", "{self:#?}");
        }
        self
    }

    /// It fails at `hop`, where these words are said and this is advised.
    #[track_caller]
    pub(crate) fn fails(self, hop: &str, words: &str, remedy: &str) -> Self {
        assert_eq!((self.code, self.fails_at()), (1, hop), "{self:#?}");
        assert!(self.hop(hop).contains(words), "{words}: {self:#?}");
        assert!(self.remedy(hop).contains(remedy), "{remedy}: {self:#?}");
        assert_eq!(self.value["works"], false);
        self
    }

    fn hops(&self) -> &[Value] {
        self.value["hops"].as_array().unwrap()
    }
}

impl Deref for Scene {
    type Target = wharf_lab::Scene;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}
