//! Files of `NAME=value` lines: `--env-file` and `--label-file`.

use std::path::Path;

use crate::failure::Exit;

/// More than any list of variables; a device that never ends is not read for ever.
const LIMIT: u64 = 1 << 20;

/// The lines of `files` that say something, as they are: no quotes are taken off and nothing is
/// replaced, as in Docker.
pub(crate) fn read<P: AsRef<Path>>(files: &[P]) -> Result<Vec<String>, Exit> {
    let mut lines = Vec::new();
    for file in files {
        lines.extend(read_one(file.as_ref())?);
    }
    Ok(lines)
}

fn read_one(path: &Path) -> Result<Vec<String>, Exit> {
    use std::io::Read as _;
    let failed = |e: std::io::Error| Exit::at_run(format!("cannot read {}: {e}", path.display()));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LIMIT {
        return Err(Exit::at_run(format!(
            "{} is larger than {LIMIT} bytes: name a file of NAME=value lines",
            path.display()
        )));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| Exit::at_run(format!("{} is not UTF-8: save it as UTF-8", path.display())))?;
    parse(&text).map_err(|why| Exit::at_run(format!("invalid line in {}: {why}", path.display())))
}

fn parse(text: &str) -> Result<Vec<String>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split_once('=').map_or(line, |(name, _)| name);
        if name.is_empty() || name.contains(char::is_whitespace) {
            let number = number + 1;
            return Err(format!("{number}: {line:?}: a name has no spaces: use NAME=value"));
        }
        found.push(line.to_owned());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_as_they_are() {
        let text = "\u{feff}# a comment\n\nA=1\n  B=\"two words\"\nC\nD=x=y # not a comment\r\n";
        let expected = ["A=1", "B=\"two words\"", "C", "D=x=y # not a comment"];
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn a_name_with_spaces_is_refused_with_its_line() {
        for text in ["A=1\nB C=2", "x\n=3", "\n a b"] {
            assert!(parse(text).unwrap_err().starts_with('2'), "{text}");
        }
    }
}
