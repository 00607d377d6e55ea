//! The ledger on disk: one file, every change durable before it is acknowledged.

use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

const CONTAINERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("containers");
const NETWORKS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("networks");
const SETTINGS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("settings");

/// The kinds of record kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Containers by id.
    Container,
    /// Networks by id.
    Network,
    /// Settings by name.
    Setting,
}

/// One change to the store; the value is JSON, `None` deletes.
#[derive(Debug, Clone)]
pub struct Change {
    kind: Kind,
    key: String,
    value: Option<Vec<u8>>,
}

/// The store.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    database: Database,
}

// === impl Kind ===

impl Kind {
    fn table(self) -> TableDefinition<'static, &'static str, &'static [u8]> {
        match self {
            Self::Container => CONTAINERS,
            Self::Network => NETWORKS,
            Self::Setting => SETTINGS,
        }
    }
}

// === impl Change ===

impl Change {
    /// Writes `value` under `key`.
    pub fn put<T: Serialize>(kind: Kind, key: &str, value: &T) -> Result<Self> {
        let value = serde_json::to_vec(value)
            .map_err(|e| Error::Invalid(format!("{key} cannot be written as JSON: {e}")))?;
        Ok(Self { kind, key: key.to_owned(), value: Some(value) })
    }

    /// Deletes `key`.
    pub fn delete(kind: Kind, key: &str) -> Self {
        Self { kind, key: key.to_owned(), value: None }
    }
}

// === impl Store ===

impl Store {
    /// Opens the store at `path`, making it when it does not exist.
    pub fn open(path: &Path) -> Result<Self> {
        let database = Database::create(path).map_err(failure(path))?;
        let store = Self { path: path.to_owned(), database };
        let write = store.database.begin_write().map_err(failure(path))?;
        for kind in [Kind::Container, Kind::Network, Kind::Setting] {
            write.open_table(kind.table()).map_err(failure(path))?;
        }
        write.commit().map_err(failure(path))?;
        Ok(store)
    }

    /// Makes all of `changes` durable in one transaction, or none.
    pub fn commit(&self, changes: &[Change]) -> Result<()> {
        let fail = || failure(&self.path);
        let write = self.database.begin_write().map_err(|e| fail()(e.into()))?;
        for change in changes {
            let mut table = write.open_table(change.kind.table()).map_err(|e| fail()(e.into()))?;
            match &change.value {
                Some(value) => {
                    table.insert(change.key.as_str(), value.as_slice()).map_err(|e| fail()(e.into()))?;
                }
                None => {
                    table.remove(change.key.as_str()).map_err(|e| fail()(e.into()))?;
                }
            }
        }
        write.commit().map_err(|e| fail()(e.into()))
    }

    /// Every record of `kind`.
    pub fn all<T: DeserializeOwned>(&self, kind: Kind) -> Result<Vec<T>> {
        let fail = || failure(&self.path);
        let read = self.database.begin_read().map_err(|e| fail()(e.into()))?;
        let table = read.open_table(kind.table()).map_err(|e| fail()(e.into()))?;
        let mut found = Vec::new();
        for entry in table.iter().map_err(|e| fail()(e.into()))? {
            let (key, value) = entry.map_err(|e| fail()(e.into()))?;
            found.push(self.parse(key.value(), value.value())?);
        }
        Ok(found)
    }

    /// One record.
    pub fn get<T: DeserializeOwned>(&self, kind: Kind, key: &str) -> Result<Option<T>> {
        let fail = || failure(&self.path);
        let read = self.database.begin_read().map_err(|e| fail()(e.into()))?;
        let table = read.open_table(kind.table()).map_err(|e| fail()(e.into()))?;
        let value = table.get(key).map_err(|e| fail()(e.into()))?;
        value.map(|value| self.parse(key, value.value())).transpose()
    }

    fn parse<T: DeserializeOwned>(&self, key: &str, value: &[u8]) -> Result<T> {
        serde_json::from_slice(value).map_err(|e| Error::Store {
            path: self.path.clone(),
            detail: format!("record {key} cannot be read: {e}"),
        })
    }
}

fn failure(path: &Path) -> impl FnOnce(redb::Error) -> Error {
    let path = path.to_owned();
    move |error| Error::Store { path, detail: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_committed_is_there_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.redb");
        let store = Store::open(&path).unwrap();
        store
            .commit(&[
                Change::put(Kind::Container, "a", &"one").unwrap(),
                Change::put(Kind::Container, "b", &"two").unwrap(),
            ])
            .unwrap();
        store.commit(&[Change::delete(Kind::Container, "a")]).unwrap();
        drop(store);
        let store = Store::open(&path).unwrap();
        assert_eq!(store.all::<String>(Kind::Container).unwrap(), ["two"]);
        assert_eq!(store.get::<String>(Kind::Network, "b").unwrap(), None);
    }
}
