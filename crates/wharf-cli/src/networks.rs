//! `network …`.

use std::process::ExitCode;

use wharf_api::client::Part;
use wharf_api::{NetworkConnect, NetworkCreate, NetworkDisconnect, NetworkSummary};

use crate::args::{
    Format, InspectArgs, ListArgs, NetworkCommand, NetworkConnectArgs, NetworkCreateArgs,
    NetworkDisconnectArgs,
};
use crate::connect::Session;
use crate::create::labels;
use crate::failure::{Outcome, for_each, print_line};
use crate::listing::{print_json, print_table, short};
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

async fn list(session: &Session, args: ListArgs) -> Outcome {
    let found: Vec<NetworkSummary> = session.get("/v1/networks").await?;
    if args.format == Format::Json {
        return print_json(&found);
    }
    let rows = found.iter().map(|network| {
        let subnets: Vec<&str> = network.subnets.iter().map(|s| s.subnet.as_str()).collect();
        let mode = network.subnets.first().map_or("-", |s| s.gateway_mode.as_str());
        let mode = if network.internal { format!("{mode}, internal") } else { mode.to_owned() };
        let name = network.name.clone();
        vec![
            short(&network.id),
            name,
            network.driver.clone(),
            network.bridge.clone(),
            mode,
            subnets.join(" "),
        ]
    });
    print_table(&["NETWORK ID", "NAME", "DRIVER", "BRIDGE", "MODE", "SUBNETS"], rows.collect())
}

async fn inspect(session: &Session, args: InspectArgs) -> Outcome {
    let mut found: Vec<NetworkSummary> = Vec::new();
    let mut code = ExitCode::SUCCESS;
    for name in &args.names {
        match session.get(&format!("/v1/networks/{}", Part(name))).await {
            Ok(network) => found.push(network),
            Err(error) => code = crate::failure::Exit::from(error).report(),
        }
    }
    print_json(&found)?;
    Ok(code)
}
