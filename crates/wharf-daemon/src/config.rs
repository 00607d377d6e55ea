//! What a daemon is told when it starts.

use wharf_network::{AddressPools, Pool};

use crate::error::Result;
use crate::paths::Paths;
use crate::store::{Change, Kind, Store};

const POOLS: &str = "address-pools";

/// What a daemon is told when it starts.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its directories.
    pub paths: Paths,
    pools: Vec<Pool>,
}

// === impl Config ===

impl Config {
    /// A configuration for `paths`; `pools` replace the built-in address pools of their family
    /// (`BASE/PREFIX:SUBNET-PREFIX` each).
    pub fn new(paths: Paths, pools: &[String]) -> Result<Self> {
        // An empty WHARF_POOLS is as good as none.
        let given = pools.iter().filter(|text| !text.is_empty());
        let pools = given.map(|text| text.parse()).collect::<Result<Vec<Pool>, _>>()?;
        Ok(Self { paths, pools })
    }

    /// The pools in force. The random part of the IPv6 prefix (RFC 4193) is drawn once and kept, so
    /// that networks made later are neighbours of those made before.
    pub(crate) fn pools(&self, store: &Store) -> Result<AddressPools> {
        let mut pools = match store.get(Kind::Setting, POOLS)? {
            Some(kept) => kept,
            None => {
                let fresh = AddressPools::generate();
                store.commit(&[Change::put(Kind::Setting, POOLS, &fresh)?])?;
                fresh
            }
        };
        pools.replace(self.pools.iter().cloned());
        Ok(pools)
    }
}
