//! `exec`.

use std::process::ExitCode;

use wharf_api::ExecRequest;
use wharf_api::client::Part;

use crate::args::ExecArgs;
use crate::attach;
use crate::connect::Session;
use crate::create::{environment, refuse_terminal};
use crate::failure::{Exit, Outcome};

/// `wharf exec`.
pub(crate) async fn exec(session: &Session, args: ExecArgs) -> Outcome {
    refuse_terminal(args.interactive, args.tty)?;
    let request = ExecRequest {
        command: args.command,
        env: environment(&args.env),
        workdir: args.workdir,
        user: args.user,
        detach: args.detach,
    };
    let path = format!("/v1/containers/{}/exec", Part(&args.container));
    let mut output = session.post_output(&path, &request).await.map_err(Exit::from_run)?;
    match attach::drain(&mut output).await? {
        Some(code) => Ok(attach::exit_code(code)),
        None if args.detach => Ok(ExitCode::SUCCESS),
        None => Err(Exit::at_run("the daemon ended the stream before the command did")),
    }
}
