//! The ledger on disk: one file, every change durable before it is acknowledged.

use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Containers' environments are in it, and what is secret goes into environments.
const MODE: u32 = 0o600;

const CONTAINERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("containers");
const NETWORKS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("networks");
const PUBLICATIONS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("publications");
const SETTINGS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("settings");

/// The kinds of record kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// Containers by id.
    Container,
    /// Networks by id.
    Network,
    /// Publications by id.
    Publication,
    /// Settings by name.
    Setting,
}

/// One change to the store; the value is JSON, `None` deletes.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    kind: Kind,
    key: String,
    value: Option<Vec<u8>>,
}

/// The store.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    database: Mutex<Option<Database>>,
}

// === impl Kind ===

impl Kind {
    const ALL: [Self; 4] = [Self::Container, Self::Network, Self::Publication, Self::Setting];

    fn table(self) -> TableDefinition<'static, &'static str, &'static [u8]> {
        match self {
            Self::Container => CONTAINERS,
            Self::Network => NETWORKS,
            Self::Publication => PUBLICATIONS,
            Self::Setting => SETTINGS,
        }
    }
}

// === impl Change ===

impl Change {
    /// Writes `value` under `key`.
    pub(crate) fn put<T: Serialize>(kind: Kind, key: &str, value: &T) -> Result<Self> {
        let value = serde_json::to_vec(value)
            .map_err(|e| Error::Invalid(format!("{key} cannot be written as JSON: {e}")))?;
        Ok(Self { kind, key: key.to_owned(), value: Some(value) })
    }

    /// Deletes `key`.
    pub(crate) fn delete(kind: Kind, key: &str) -> Self {
        Self { kind, key: key.to_owned(), value: None }
    }
}

// === impl Store ===

impl Store {
    /// Opens the store at `path`, making it when it does not exist.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let database = create(path).map_err(|error| failure(path, &error))?;
        Ok(Self { path: path.to_owned(), database: Mutex::new(Some(database)) })
    }

    /// Makes all of `changes` durable in one transaction, or none.
    pub(crate) fn commit(&self, changes: &[Change]) -> Result<()> {
        self.with(|database| write(database, changes))
    }

    /// Every record of `kind`.
    pub(crate) fn all<T: DeserializeOwned>(&self, kind: Kind) -> Result<Vec<T>> {
        let found = self.with(|database| read_all(database, kind))?;
        found.iter().map(|(key, value)| self.parse(key, value)).collect()
    }

    /// One record.
    pub(crate) fn get<T: DeserializeOwned>(&self, kind: Kind, key: &str) -> Result<Option<T>> {
        let found = self.with(|database| read_one(database, kind, key))?;
        found.map(|value| self.parse(key, &value)).transpose()
    }

    /// Does `work`. After a failure the database refuses everything until it is opened anew, so it
    /// is, and the work is tried once more: a disk that was full may have room again.
    fn with<T>(&self, work: impl Fn(&Database) -> Result<T, redb::Error>) -> Result<T> {
        let mut slot = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = slot.as_ref()
            && let Ok(done) = work(database)
        {
            return Ok(done);
        }
        // The file is locked for as long as it is open.
        drop(slot.take());
        let opened = create(&self.path).map_err(|error| failure(&self.path, &error))?;
        work(slot.insert(opened)).map_err(|error| failure(&self.path, &error))
    }

    fn parse<T: DeserializeOwned>(&self, key: &str, value: &[u8]) -> Result<T> {
        serde_json::from_slice(value).map_err(|e| Error::Store {
            path: self.path.clone(),
            detail: format!("record {key} cannot be read: {e}"),
        })
    }
}

fn write(database: &Database, changes: &[Change]) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    for change in changes {
        let mut table = write.open_table(change.kind.table())?;
        match &change.value {
            Some(value) => table.insert(change.key.as_str(), value.as_slice())?,
            None => table.remove(change.key.as_str())?,
        };
    }
    Ok(write.commit()?)
}

fn read_all(database: &Database, kind: Kind) -> Result<Vec<(String, Vec<u8>)>, redb::Error> {
    let table = database.begin_read()?.open_table(kind.table())?;
    let mut found = Vec::new();
    for entry in table.iter()? {
        let (key, value) = entry?;
        found.push((key.value().to_owned(), value.value().to_owned()));
    }
    Ok(found)
}

fn read_one(database: &Database, kind: Kind, key: &str) -> Result<Option<Vec<u8>>, redb::Error> {
    let table = database.begin_read()?.open_table(kind.table())?;
    Ok(table.get(key)?.map(|value| value.value().to_owned()))
}

fn create(path: &Path) -> Result<Database, redb::Error> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(MODE).open(path)?;
    file.set_permissions(Permissions::from_mode(MODE))?;
    drop(file);
    let database = Database::create(path)?;
    let write = database.begin_write()?;
    for kind in Kind::ALL {
        write.open_table(kind.table())?;
    }
    write.commit()?;
    Ok(database)
}

fn failure(path: &Path, error: &redb::Error) -> Error {
    Error::Store { path: path.to_owned(), detail: error.to_string() }
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

    /// On a file system of one megabyte that only this thread can see.
    fn on_a_small_disk(work: impl FnOnce(&Path) + Send + 'static) {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: mounting a file system needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        let alone = std::thread::spawn(move || {
            wharf_host::netns::unshare_mount_private().unwrap();
            let flags = rustix::mount::MountFlags::empty();
            rustix::mount::mount("none", &path, "tmpfs", flags, c"size=4m").unwrap();
            work(&path);
        });
        alone.join().unwrap();
    }

    #[test]
    fn a_disk_that_was_full_is_written_to_again() {
        on_a_small_disk(|dir| {
            let store = Store::open(&dir.join("w.redb")).unwrap();
            let put = |key: &str, size: usize| {
                store.commit(&[Change::put(Kind::Container, key, &"x".repeat(size)).unwrap()])
            };
            put("first", 10).unwrap();
            let filler = std::fs::write(dir.join("filler"), vec![0; 8 << 20]);
            assert!(filler.is_err(), "the disk is not full");
            assert!(put("second", 2 << 20).is_err());
            std::fs::remove_file(dir.join("filler")).unwrap();
            put("third", 10).unwrap();
            assert_eq!(store.all::<String>(Kind::Container).unwrap().len(), 2);
        });
    }
}
