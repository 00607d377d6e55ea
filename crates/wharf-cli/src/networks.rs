//! `network …`.

use std::process::ExitCode;

use serde_json::{Value, json};
use wharf_api::client::Part;
use wharf_api::{NetworkConnect, NetworkCreate, NetworkDisconnect, NetworkSummary};

use crate::args::{
    InspectArgs, Layout, NetworkCommand, NetworkConnectArgs, NetworkCreateArgs,
    NetworkDisconnectArgs, NetworkListArgs,
};
use crate::connect::Session;
use crate::create::labels;
use crate::failure::{Outcome, for_each, print_line};
use crate::listing::{inspect_each, joined, print_each, print_json, print_table, short};
use crate::prune;

/// `wharf network …`.
pub(crate) async fn network(session: &Session, command: NetworkCommand) -> Outcome {
    match command {
        NetworkCommand::Create(args) => create(session, args).await,
        NetworkCommand::Ls(args) => list(session, args).await,
        NetworkCommand::Inspect(args) => inspect(session, args).await,
        NetworkCommand::Connect(args) => connect(session, args).await,
        NetworkCommand::Disconnect(args) => disconnect(session, args).await,
        NetworkCommand::Prune(args) => prune::prune(session, &args, &[prune::NETWORKS]).await,
        NetworkCommand::Rm(args) => {
            for_each(&args.networks, |name| async move {
                let _gone: serde_json::Value =
                    session.delete(&format!("/v1/networks/{}", Part(&name))).await?;
                Ok(name)
            })
            .await
        }
    }
}

async fn create(session: &Session, args: NetworkCreateArgs) -> Outcome {
    let request = NetworkCreate {
        name: args.name,
        subnets: args.subnet,
        gateways: args.gateway,
        ipv6: args.ipv6,
        internal: args.internal,
        gateway_mode: args.gateway_mode,
        trusted_interfaces: args.trusted_interface,
        labels: labels(&args.label),
    };
    let created: NetworkSummary = session.post("/v1/networks", &request).await?;
    print_line(&created.id)?;
    Ok(ExitCode::SUCCESS)
}

async fn connect(session: &Session, args: NetworkConnectArgs) -> Outcome {
    let NetworkConnectArgs { alias, ip, ip6, network, container } = args;
    let request = NetworkConnect { container, aliases: alias, ip, ip6 };
    let path = format!("/v1/networks/{}/connect", Part(&network));
    let _connected: serde_json::Value = session.post(&path, &request).await?;
    Ok(ExitCode::SUCCESS)
}

async fn disconnect(session: &Session, args: NetworkDisconnectArgs) -> Outcome {
    let request = NetworkDisconnect { container: args.container };
    let path = format!("/v1/networks/{}/disconnect", Part(&args.network));
    let _disconnected: serde_json::Value = session.post(&path, &request).await?;
    Ok(ExitCode::SUCCESS)
}

async fn list(session: &Session, args: NetworkListArgs) -> Outcome {
    let found: Vec<NetworkSummary> = session.get("/v1/networks").await?;
    let id = |it: &NetworkSummary| if args.no_trunc { it.id.clone() } else { short(&it.id) };
    match args.format.unwrap_or_default() {
        Layout::Table => {}
        Layout::Json => return print_json(&found),
        Layout::Template(template) => {
            return print_each(&template, found.iter().map(|it| fields(it, id(it))));
        }
    }
    if args.quiet {
        found.iter().try_for_each(|it| print_line(&id(it)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = found.iter().map(|network| {
        let subnets: Vec<&str> = network.subnets.iter().map(|s| s.subnet.as_str()).collect();
        let mode = network.subnets.first().map_or("-", |s| s.gateway_mode.as_str());
        let mode = if network.internal { format!("{mode}, internal") } else { mode.to_owned() };
        let name = network.name.clone();
        vec![
            id(network),
            name,
            network.driver.clone(),
            network.bridge.clone(),
            mode,
            subnets.join(" "),
        ]
    });
    print_table(&["NETWORK ID", "NAME", "DRIVER", "BRIDGE", "MODE", "SUBNETS"], rows.collect())
}

/// A network as templates see it, with Docker's names.
fn fields(network: &NetworkSummary, id: String) -> Value {
    let has = |sign| network.subnets.iter().any(|side| side.subnet.contains(sign));
    json!({
        "ID": id,
        "Name": network.name,
        "Driver": network.driver,
        "Scope": network.scope,
        "IPv4": has('.'),
        "IPv6": has(':'),
        "Internal": network.internal,
        "CreatedAt": network.created,
        "Labels": joined(&network.labels),
    })
}

async fn inspect(session: &Session, args: InspectArgs) -> Outcome {
    let ask = async |name: &str| Ok(session.get(&format!("/v1/networks/{}", Part(name))).await?);
    inspect_each(args, ask).await
}
