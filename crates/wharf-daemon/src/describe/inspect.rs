//! `inspect` of a container, with Docker's field names where the meaning is Docker's, so that
//! scripts carry over.

use serde_json::{Map, Value, json};
use wharf_api::ContainerState;
use wharf_runtime::health::HealthSpec;
use wharf_spec::{HostPorts, PortSpec, Publication, render};

use super::confinement;
use super::network::endpoint_id;
use crate::health::{Health, Probe};
use crate::paths::Paths;
use crate::record::{ContainerRecord, Place};

/// What Docker writes for a moment that has not come.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Describes a container whose process, if it runs, is `pid`.
pub(super) fn container(
    record: &ContainerRecord,
    publications: &[Publication],
    pid: u32,
    health: Option<Health>,
    paths: &Paths,
) -> Value {
    let dir = paths.container(&record.id);
    json!({
        "Id": record.id,
        "Name": format!("/{}", record.name),
        "Created": record.created,
        "Image": record.image_id,
        "Path": record.spec.args.first(),
        "Args": record.spec.args.get(1..).unwrap_or_default(),
        "State": state(record, pid, health),
        "Config": config(record),
        "HostConfig": host_config(record),
        "NetworkSettings": network_settings(record, publications),
        "RestartCount": record.restarts.count,
        "Mounts": confinement::mounts(record),
        "LogPath": dir.join(wharf_runtime::log::FILE),
        "HostnamePath": dir.join("hostname"),
        "HostsPath": dir.join("hosts"),
        "ResolvConfPath": dir.join("resolv.conf"),
    })
}

fn state(record: &ContainerRecord, pid: u32, health: Option<Health>) -> Value {
    let state = record.state();
    let running = state.is_alive();
    let mut told = json!({
        "Status": state,
        "Running": running,
        "Paused": state == ContainerState::Paused,
        "Restarting": state == ContainerState::Restarting,
        "Pid": if running { pid } else { 0 },
        "OOMKilled": record.exit.as_ref().is_some_and(|exit| !running && exit.oom_killed),
        "Dead": false,
        "ExitCode": record.exit.as_ref().filter(|_| !running).map_or(0, |exit| exit.code),
        "Error": record.failure.clone().unwrap_or_default(),
        "StartedAt": record.started.as_deref().unwrap_or(NEVER),
        "FinishedAt": record.exit.as_ref().map_or(NEVER, |exit| exit.finished.as_str()),
    });
    // As in Docker, there is no such field without a check.
    if let (Some(told), Some(health)) = (told.as_object_mut(), health) {
        told.insert("Health".into(), health_of(&health));
    }
    told
}

fn health_of(health: &Health) -> Value {
    let probe = |probe: &Probe| {
        json!({
            "Start": probe.started,
            "End": probe.ended,
            "ExitCode": probe.code,
            "Output": probe.output,
        })
    };
    json!({
        "Status": health.status.to_string(),
        "FailingStreak": health.failing_streak,
        "Log": health.log.iter().map(probe).collect::<Vec<_>>(),
    })
}

fn config(record: &ContainerRecord) -> Value {
    let exposed: Map<String, Value> = record
        .exposed
        .iter()
        .flat_map(|e| e.ports.iter().map(move |port| format!("{port}/{}", e.proto)))
        .map(|port| (port, json!({})))
        .collect();
    json!({
        "Hostname": record.spec.hostname,
        "Domainname": record.request.names.domainname.clone().unwrap_or_default(),
        "User": record.spec.user,
        "Env": record.spec.env,
        "Cmd": record.request.command,
        "Entrypoint": record.request.entrypoint,
        "Image": record.request.image,
        "WorkingDir": record.spec.workdir,
        "Labels": record.spec.labels,
        "ExposedPorts": exposed,
        "StopSignal": record.spec.stop_signal,
        "Tty": record.spec.terminal.tty,
        "OpenStdin": record.spec.terminal.stdin,
        "StdinOnce": record.spec.terminal.stdin_once,
        "Healthcheck": record.health.as_ref().map(healthcheck),
        "StopTimeout": record.request.supervision.stop_timeout,
    })
}

/// Docker's: times in nanoseconds.
fn healthcheck(spec: &HealthSpec) -> Value {
    json!({
        "Test": spec.test,
        "Interval": spec.interval.as_nanos(),
        "Timeout": spec.timeout.as_nanos(),
        "StartPeriod": spec.start_period.as_nanos(),
        "StartInterval": spec.start_interval.as_nanos(),
        "Retries": spec.retries,
    })
}

fn host_config(record: &ContainerRecord) -> Value {
    let policy = record.restart_policy();
    let mut config = json!({
        "AutoRemove": record.request.auto_remove,
        "RestartPolicy": {"Name": policy.name(), "MaximumRetryCount": policy.at_most()},
        "LogConfig": crate::terminal::log_config(&record.spec.terminal),
        "Binds": record.request.volumes,
        "NetworkMode": record.network,
        "Dns": record.request.names.dns,
        "DnsSearch": record.request.names.dns_search,
        "DnsOptions": record.request.names.dns_options,
        "ExtraHosts": record.request.names.extra_hosts,
        "PublishAllPorts": record.request.publish_all,
        "PortSpecs": record.request.publish,
        "PortBindings": port_bindings(record),
    });
    if let Some(config) = config.as_object_mut() {
        config.extend(confinement::describe(record));
    }
    config
}

/// What was asked for, port by port, as Docker writes it: no number where any will do.
fn port_bindings(record: &ContainerRecord) -> Value {
    let mut found: Map<String, Value> = Map::new();
    let specs = record.request.publish.iter().filter_map(|text| text.parse::<PortSpec>().ok());
    for spec in specs {
        let ip = spec.host_ip.map(|ip| ip.to_string()).unwrap_or_default();
        for (index, port) in spec.container_ports.iter().enumerate() {
            let host = match spec.host_ports {
                HostPorts::Ephemeral => String::new(),
                HostPorts::Exact(range) => {
                    range.iter().nth(index).map(|port| port.to_string()).unwrap_or_default()
                }
                HostPorts::AnyOf(range) => range.to_string(),
            };
            let binding = json!({"HostIp": ip, "HostPort": host});
            let entry = found.entry(format!("{port}/{}", spec.proto));
            match entry.or_insert(Value::Null) {
                Value::Array(bindings) => bindings.push(binding),
                empty => *empty = json!([binding]),
            }
        }
    }
    Value::Object(found)
}

fn network_settings(record: &ContainerRecord, publications: &[Publication]) -> Value {
    let places: Map<String, Value> =
        record.places().map(|it| (it.network.to_owned(), place(it, record))).collect();
    let first = record.places().next().map(|it| place(it, record));
    let nowhere =
        || json!({"IPAddress": "", "Gateway": "", "GlobalIPv6Address": "", "MacAddress": ""});
    let mut settings = first.unwrap_or_else(nowhere).as_object().cloned().unwrap_or_default();
    for own in ["NetworkID", "EndpointID", "Aliases", "DNSNames"] {
        settings.remove(own);
    }
    settings.insert("Ports".into(), ports(record, publications));
    settings.insert("Networks".into(), Value::Object(places));
    Value::Object(settings)
}

fn place(place: Place<'_>, record: &ContainerRecord) -> Value {
    let endpoint = place.endpoint;
    json!({
        "IPAddress": endpoint.ipv4.map(|net| net.addr().to_string()).unwrap_or_default(),
        "IPPrefixLen": endpoint.ipv4.map_or(0, |net| net.prefix_len()),
        "Gateway": endpoint.gateway4.map(|a| a.to_string()).unwrap_or_default(),
        "GlobalIPv6Address": endpoint.ipv6.map(|net| net.addr().to_string()).unwrap_or_default(),
        "GlobalIPv6PrefixLen": endpoint.ipv6.map_or(0, |net| net.prefix_len()),
        "IPv6Gateway": endpoint.gateway6.map(|a| a.to_string()).unwrap_or_default(),
        "MacAddress": endpoint.mac.to_string(),
        "NetworkID": endpoint.network,
        "EndpointID": endpoint_id(&endpoint.network, &record.id),
        "Aliases": place.aliases,
        "DNSNames": crate::naming::names(record, place.aliases),
    })
}

/// Docker's map: null for a port that is only exposed, its host bindings for a published one.
fn ports(record: &ContainerRecord, publications: &[Publication]) -> Value {
    let mut found: Map<String, Value> = Map::new();
    if !record.state().is_alive() {
        return Value::Object(found);
    }
    for exposed in &record.exposed {
        for port in exposed.ports.iter() {
            found.insert(format!("{port}/{}", exposed.proto), Value::Null);
        }
    }
    for line in render::port_lines(publications) {
        let binding = json!({
            "HostIp": line.host.ip().to_string(),
            "HostPort": line.host.port().to_string(),
        });
        let entry = found.entry(format!("{}/{}", line.container_port, line.proto));
        match entry.or_insert(Value::Null) {
            Value::Array(bindings) => bindings.push(binding),
            empty => *empty = json!([binding]),
        }
    }
    Value::Object(found)
}
