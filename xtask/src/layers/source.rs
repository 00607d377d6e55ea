//! Rules about the text of the repository: where `unsafe` may live, how long a file may be, and
//! that nothing names a place on one person's machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Longer files are split; 400 is where one starts to think about it.
const MOST_LINES: usize = 800;

/// The only directory whose Rust code may contain `unsafe`.
const UNSAFE_HOME: &str = "crates/wharf-host/";

/// Made of pieces so that this file passes its own check.
const MACHINE_PATHS: [&str; 3] =
    [concat!("/wo", "rk/"), concat!("../sha", "red"), concat!("sha", "red/reference")];

/// Directories that are not ours to judge.
const SKIPPED: [&str; 2] = ["target", ".git"];

/// Files cargo writes, and texts that lawyers wrote.
const FOREIGN: [&str; 3] = ["Cargo.lock", "LICENSE-APACHE", "LICENSE-MIT"];

/// What was found, and how many files were read.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// One line per broken rule.
    pub(crate) faults: Vec<String>,
    /// The number of text files read.
    pub(crate) files: usize,
}

/// Reads every text file under `root`.
pub(crate) fn check(root: &Path) -> Result<Findings> {
    let mut findings = Findings::default();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        let entries = fs::read_dir(&directory)
            .with_context(|| format!("list {}", directory.display()))?
            .collect::<Result<Vec<_>, _>>()?;
        for entry in entries {
            let kind = entry.file_type()?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
                waiting.push(entry.path());
            } else if kind.is_file() && !FOREIGN.contains(&name.as_str()) {
                read(root, &entry.path(), &mut findings);
            }
        }
    }
    findings.faults.sort();
    Ok(findings)
}

fn read(root: &Path, path: &Path, findings: &mut Findings) {
    // What is not UTF-8 is not text.
    let Ok(text) = fs::read_to_string(path) else { return };
    findings.files += 1;
    let place = path.strip_prefix(root).unwrap_or(path).to_owned();
    findings.faults.extend(machine_paths(&place, &text));
    if place.extension().is_some_and(|extension| extension == "rs") {
        findings.faults.extend(too_long(&place, &text));
        findings.faults.extend(unsafe_away_from_home(&place, &text));
    }
}

fn machine_paths(place: &Path, text: &str) -> Vec<String> {
    let names_a_machine = |line: &str| MACHINE_PATHS.iter().any(|path| begins(line, path));
    numbered(text)
        .filter(|(_, line)| names_a_machine(line))
        .map(|(number, _)| format!("{}:{number}: names a place on one machine", place.display()))
        .collect()
}

/// Whether `line` holds `path` as the beginning of a path, not as the middle of a longer one.
fn begins(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line.get(..at).and_then(|head| head.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '}' | ')'))
    })
}

fn too_long(place: &Path, text: &str) -> Option<String> {
    let lines = text.lines().count();
    (lines > MOST_LINES)
        .then(|| format!("{}: {lines} lines, {MOST_LINES} are the limit", place.display()))
}

fn unsafe_away_from_home(place: &Path, text: &str) -> Vec<String> {
    if place.starts_with(PathBuf::from(UNSAFE_HOME)) {
        return Vec::new();
    }
    let code = code_only(text);
    numbered(&code)
        .filter(|(_, line)| {
            line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe")
        })
        .map(|(number, _)| format!("{}:{number}: unsafe outside wharf-host", place.display()))
        .collect()
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines())
}

/// The text with comments and string literals blanked; line breaks stay where they are.
fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skip = skipped(rest);
        let taken = if skip == 0 { first.len_utf8() } else { skip };
        let (piece, after) = rest.split_at_checked(taken).unwrap_or((rest, ""));
        if skip == 0 {
            code.push_str(piece);
        } else {
            code.push(' ');
            code.extend(piece.chars().filter(|c| *c == '\n'));
        }
        rest = after;
    }
    code
}

/// The length of the comment or literal that `rest` begins with; 0 when it begins with neither.
fn skipped(rest: &str) -> usize {
    let to = |end: &str, from: usize| {
        rest.get(from..)
            .and_then(|tail| tail.find(end))
            .map_or(rest.len(), |at| from + at + end.len())
    };
    if rest.starts_with("//") {
        return to("\n", 0) - usize::from(rest.contains('\n'));
    }
    if rest.starts_with("/*") {
        return to("*/", 2);
    }
    if rest.starts_with("'\"'") || rest.starts_with("'\\\"'") {
        return to("\"'", 0);
    }
    if let Some(hashes) = raw_string(rest) {
        return to(&format!("\"{}", "#".repeat(hashes)), hashes + 2);
    }
    if rest.starts_with('"') { string(rest) } else { 0 }
}

/// The number of `#` when `rest` begins a raw string.
fn raw_string(rest: &str) -> Option<usize> {
    let tail = rest.strip_prefix('r')?;
    let hashes = tail.chars().take_while(|c| *c == '#').count();
    tail.get(hashes..)?.starts_with('"').then_some(hashes)
}

fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(place: &str, text: &str) -> Vec<String> {
        unsafe_away_from_home(Path::new(place), text)
    }

    #[test]
    fn unsafe_is_found_in_code_only() {
        assert_eq!(faults("crates/a/src/lib.rs", "fn f() {\n  unsafe { g() }\n}").len(), 1);
        assert!(faults("crates/wharf-host/src/lib.rs", "unsafe {}").is_empty());
        for harmless in [
            "// unsafe\nfn f() {}",
            "/* unsafe\n */ fn f() {}",
            "#![forbid(unsafe_code)]",
            "let a = \"un\\\"safe unsafe\";",
            "let a = r#\"unsafe \" unsafe\"#;",
            "let a = '\"'; // unsafe \"",
        ] {
            assert!(faults("crates/a/src/lib.rs", harmless).is_empty(), "{harmless}");
        }
    }

    #[test]
    fn code_after_a_literal_is_still_code() {
        let found = faults("a.rs", "let a = \"//\";\nlet b = '\"';\nunsafe {}\n");
        assert_eq!(found, ["a.rs:3: unsafe outside wharf-host"]);
    }

    #[test]
    fn places_on_one_machine_are_found() {
        let place = Path::new("a.md");
        let work = MACHINE_PATHS[0];
        assert_eq!(machine_paths(place, &format!("see {work}main")).len(), 1);
        assert!(machine_paths(place, &format!("an overlay's upper{work}dir")).is_empty());
    }

    #[test]
    fn long_files_are_found() {
        let place = Path::new("a.rs");
        assert!(too_long(place, &"\n".repeat(MOST_LINES)).is_none());
        assert!(too_long(place, &"\n".repeat(MOST_LINES + 1)).is_some());
    }
}
