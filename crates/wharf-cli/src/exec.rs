//! `exec`.

use std::process::ExitCode;

use wharf_api::ExecRequest;
use wharf_api::client::Part;

use crate::args::ExecArgs;
use crate::attach::{self, DetachKeys, OnSignal, Streams, Target, Wish};
use crate::connect::Session;
use crate::create::environment;
use crate::failure::{Exit, Outcome};

/// `wharf exec`.
pub(crate) async fn exec(session: &Session, args: ExecArgs) -> Outcome {
    let keys = DetachKeys::parse(args.detach_keys.as_deref())?;
    let stdin = args.interactive && !args.detach;
    if args.tty && stdin {
        attach::expect_on_stdin()?;
    }
    let size = attach::size().filter(|_| args.tty);
    let request = ExecRequest {
        command: args.command,
        env: environment(&args.env),
        workdir: args.workdir,
        user: args.user,
        privileged: args.privileged,
        detach: args.detach,
        stdin,
        tty: args.tty,
        rows: size.map_or(0, |size| size.rows),
        columns: size.map_or(0, |size| size.columns),
    };
    if (stdin || args.tty) && !args.detach {
        let streams = Streams { stdin, stdout: true, stderr: true };
        let on_signal = if args.tty { OnSignal::Leave } else { OnSignal::Default };
        let wish = Wish { streams, tty: args.tty, keys, on_signal };
        return attach::converse(session, Target::Command(&args.container, request), wish).await;
    }
    let path = format!("/v1/containers/{}/exec", Part(&args.container));
    let mut output = session.post_output(&path, &request).await.map_err(Exit::from_run)?;
    match attach::drain(&mut output).await.map_err(Exit::into_run)? {
        Some(code) => Ok(attach::exit_code(code)),
        None if args.detach => Ok(ExitCode::SUCCESS),
        None => Err(Exit::at_run("the daemon ended the stream before the command did")),
    }
}
