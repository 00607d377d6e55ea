//! Test hosts made of network namespaces, with the real program running in them.
//!
//! A [`Lab`] owns a directory and any number of [`Host`]s, each a network namespace with cables
//! to others. [`Host::wharf`] puts an instance of the program on a host, with its state and its
//! sockets in the lab's directory. Dropping the instance ends every process it made; dropping
//! the lab leaves nothing. The machine's own network namespace, firewall and `/var/lib` are never
//! touched, and every wait has a limit.
//!
//! ```ignore
//! let lab = Lab::new("remote client")?;
//! let (host, client) = (lab.host("host")?, lab.host("client")?);
//! lab.link(&host, &["10.1.0.2/24", "fd01::2/64"], &client, &["10.1.0.1/24", "fd01::1/64"])?;
//! let wharf = host.wharf(program)?;
//! wharf.ok(["run", "-d", "-p", "8080:80", "wharf/whoami"]);
//! let seen = client.http_get("10.1.0.2:8080", "/api")?.json()?;
//! ```

pub mod debian;
pub mod docker;
pub mod firewall;
pub mod host;
pub mod http;
pub mod lab;
pub mod podman;
pub mod prober;
pub mod process;
pub mod rootfs;
pub mod scene;
pub mod snapshot;
pub mod teller;
pub mod wait;
pub mod wharf;

pub use docker::Docker;
pub use firewall::{Firewalld, ForwardPorts, Iptables, Ufw};
pub use host::Host;
pub use http::Response;
pub use lab::{Lab, can_run};
pub use podman::Podman;
pub use prober::{Probed, Prober};
pub use process::{Output, Process};
pub use scene::{Scene, SceneBuilder};
pub use snapshot::{Snapshot, assert_same};
pub use teller::{Teller, Told};
pub use wharf::{Daemon, Events, Wharf};
