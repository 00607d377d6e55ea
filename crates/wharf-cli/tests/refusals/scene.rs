//! A host with the program, and a way to say "this is refused, and leaves nothing".

use std::ops::Deref;
use std::time::Duration;

use serde_json::Value;

/// Longer than anything here may honestly take.
const LIMIT: Duration = Duration::from_secs(10);

pub(crate) struct Scene(wharf_lab::Scene);

/// A command line and what it is answered.
pub(crate) struct Row<'a> {
    pub(crate) line: Vec<&'a str>,
    pub(crate) code: i32,
    pub(crate) says: &'a [&'a str],
}

/// A row of `run` with these options, refused by the program itself.
pub(crate) fn run<'a>(options: &[&'a str], says: &'a [&'a str]) -> Row<'a> {
    let mut line = vec!["run", "-d"];
    line.extend(options);
    line.push("wharf/whoami");
    Row { line, code: 125, says }
}

impl Scene {
    /// `None`, with a word why, where labs cannot be built.
    pub(crate) fn new(name: &str) -> Option<Self> {
        wharf_lab::Scene::builder(name, env!("CARGO_BIN_EXE_wharf")).settled().build().map(Self)
    }

    /// As [`Self::new`], with the daemon, the bridge and the built-in image there already, so that
    /// only what a refused line does would be new.
    pub(crate) fn warm(name: &str) -> Option<Self> {
        Self::new(name).map(Self::warmed)
    }

    /// As [`Self::warm`], where every port of a range has a socket of its own.
    pub(crate) fn warm_unsteered(name: &str) -> Option<Self> {
        Self::new(name).map(|scene| Self(scene.0.with_env("WHARF_STEER_FROM", "0")).warmed())
    }

    fn warmed(self) -> Self {
        self.wharf.ok(["run", "-d", "--name", "first", "-p", "7999:80", "wharf/whoami"]);
        self.wharf.ok(["rm", "-f", "first"]);
        self
    }

    /// Every row is refused as it says, and afterwards everything is as before.
    pub(crate) fn refuses(&self, rows: &[Row<'_>]) {
        let before = self.wharf.snapshot().unwrap();
        let listings = || {
            let verbs = ["ps -a", "images", "network ls", "ports"];
            verbs.map(|verb| timeless(self.wharf.json(verb.split(' '))))
        };
        let known = listings();
        let mut wrong = Vec::new();
        for Row { line, code, says } in rows {
            let output = self.wharf.run(line).unwrap();
            if output.code() != *code || !says.iter().all(|text| output.stderr.contains(text)) {
                wrong.push(format!("{line:?} is to end with {code} and say {says:?}:\n{output:?}"));
            }
            if !output.stdout.is_empty() {
                wrong.push(format!("{line:?} says on standard output {:?}", output.stdout));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert_eq!(listings(), known);
        // What an `exec` that was refused had started ends by itself.
        self.wharf.settles_to(&before, LIMIT).unwrap();
    }
}

impl Deref for Scene {
    type Target = wharf_lab::Scene;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// A listing without how long things have been as they are.
fn timeless(mut listing: Value) -> Value {
    for entry in listing.as_array_mut().into_iter().flatten() {
        entry.as_object_mut().unwrap().remove("status");
    }
    listing
}
