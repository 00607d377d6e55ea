//! A program with the hidden subcommands of `wharf`, for tests to start.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let code = match words.as_slice() {
        ["shim", "--dir", dir] => wharf_runtime::shim::run_shim(Path::new(dir)),
        ["shim-exec", "--dir", dir, "--spec", spec] => {
            wharf_runtime::shim::run_exec(Path::new(dir), Path::new(spec))
        }
        ["whoami", rest @ ..] => {
            let rest: Vec<String> = rest.iter().map(|&word| word.to_owned()).collect();
            wharf_runtime::whoami::run(&rest)
        }
        _ => 2,
    };
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
