//! A map and what is known to be in it.

use std::collections::BTreeMap;
use std::fmt;

use aya::Pod;
use aya::maps::lpm_trie::Key;
use aya::maps::{HashMap, LpmTrie, MapData, MapError};

use crate::error::{Error, Result};
use crate::layout::Prefix;

/// What the kernel answers when a hash table has no room (`E2BIG`), and a prefix table (`ENOSPC`).
const NO_ROOM: [i32; 2] = [7, 28];
/// What it answers when there is no such key.
const NO_SUCH_KEY: i32 = 2;

/// A map of the kernel, by whatever keys.
pub(crate) trait Table<K, V>: fmt::Debug + Send + Sync {
    fn put(&mut self, key: &K, value: &V) -> Result<(), MapError>;
    fn delete(&mut self, key: &K) -> Result<(), MapError>;
    fn get(&self, key: &K) -> Result<Option<V>, MapError>;
    fn read(&self) -> Result<Vec<(K, V)>, MapError>;
}

/// A map that nobody but us writes to: what does not change anything is not sent.
#[derive(Debug)]
pub(crate) struct Mirror<K, V> {
    name: &'static str,
    limit: u32,
    table: Box<dyn Table<K, V>>,
    held: BTreeMap<K, V>,
}

/// The kernel's number for what went wrong, if it gave one.
pub(crate) fn errno(error: &MapError) -> Option<i32> {
    match error {
        MapError::SyscallError(refused) => refused.io_error.raw_os_error(),
        MapError::IoError(error) => error.raw_os_error(),
        _ => None,
    }
}

/// Says which map it was.
pub(crate) fn refused(
    action: &'static str,
    map: &'static str,
    limit: u32,
) -> impl Fn(MapError) -> Error {
    move |error| match errno(&error) {
        Some(errno) if NO_ROOM.contains(&errno) => Error::Full { map, limit },
        _ => Error::Map { action, map, source: error.into() },
    }
}

/// Whether nothing was there to be deleted.
pub(crate) fn is_gone(error: &MapError) -> bool {
    matches!(error, MapError::KeyNotFound) || errno(error) == Some(NO_SUCH_KEY)
}

// === impl Mirror ===

impl<K: Ord + Clone, V: PartialEq + Clone> Mirror<K, V> {
    /// A mirror of which nothing is known yet.
    pub(crate) fn new(name: &'static str, limit: u32, table: impl Table<K, V> + 'static) -> Self {
        Self { name, limit, table: Box::new(table), held: BTreeMap::new() }
    }

    /// Looks into the map.
    pub(crate) fn reload(&mut self) -> Result<()> {
        self.held = self.read()?;
        Ok(())
    }

    /// What the kernel holds.
    pub(crate) fn read(&self) -> Result<BTreeMap<K, V>> {
        let found = self.table.read().map_err(refused("read", self.name, self.limit))?;
        Ok(found.into_iter().collect())
    }

    /// What is known to be in there.
    pub(crate) fn held(&self) -> &BTreeMap<K, V> {
        &self.held
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.held.get(key)
    }

    pub(crate) fn put(&mut self, key: K, value: V) -> Result<()> {
        if self.held.get(&key) == Some(&value) {
            return Ok(());
        }
        self.table.put(&key, &value).map_err(refused("write", self.name, self.limit))?;
        self.held.insert(key, value);
        Ok(())
    }

    pub(crate) fn remove(&mut self, key: &K) -> Result<()> {
        if !self.held.contains_key(key) {
            return Ok(());
        }
        match self.table.delete(key) {
            Err(error) if !is_gone(&error) => {
                return Err(refused("delete from", self.name, self.limit)(error));
            }
            _ => {}
        }
        self.held.remove(key);
        Ok(())
    }
}

// === impl Table for the kernel's maps ===

impl<K, V> Table<K, V> for HashMap<MapData, K, V>
where
    K: Pod + fmt::Debug + Send + Sync,
    V: Pod + fmt::Debug + Send + Sync,
{
    fn put(&mut self, key: &K, value: &V) -> Result<(), MapError> {
        self.insert(key, value, 0)
    }

    fn delete(&mut self, key: &K) -> Result<(), MapError> {
        self.remove(key)
    }

    fn get(&self, key: &K) -> Result<Option<V>, MapError> {
        found(HashMap::get(self, key, 0))
    }

    fn read(&self) -> Result<Vec<(K, V)>, MapError> {
        self.iter().collect()
    }
}

impl Table<Prefix, u32> for LpmTrie<MapData, [u8; 20], u32> {
    fn put(&mut self, key: &Prefix, value: &u32) -> Result<(), MapError> {
        self.insert(&Key::new(key.0, key.1), value, 0)
    }

    fn delete(&mut self, key: &Prefix) -> Result<(), MapError> {
        self.remove(&Key::new(key.0, key.1))
    }

    fn get(&self, key: &Prefix) -> Result<Option<u32>, MapError> {
        found(LpmTrie::get(self, &Key::new(key.0, key.1), 0))
    }

    fn read(&self) -> Result<Vec<(Prefix, u32)>, MapError> {
        let plain = |(key, value): (Key<[u8; 20]>, u32)| ((key.prefix_len(), key.data()), value);
        self.iter().map(|entry| entry.map(plain)).collect()
    }
}

fn found<V>(looked_up: Result<V, MapError>) -> Result<Option<V>, MapError> {
    match looked_up {
        Err(MapError::KeyNotFound) => Ok(None),
        other => other.map(Some),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A map without a kernel; clones are the same map.
    #[derive(Debug, Clone)]
    pub(crate) struct Paper<K, V> {
        written: Arc<Mutex<BTreeMap<K, V>>>,
        writes: Arc<Mutex<usize>>,
    }

    impl<K: Ord, V> Paper<K, V> {
        pub(crate) fn new() -> Self {
            Self { written: Arc::default(), writes: Arc::default() }
        }

        pub(crate) fn writes(&self) -> usize {
            *self.writes.lock().unwrap()
        }
    }

    impl<K, V> Table<K, V> for Paper<K, V>
    where
        K: Ord + Clone + fmt::Debug + Send + Sync,
        V: Clone + fmt::Debug + Send + Sync,
    {
        fn put(&mut self, key: &K, value: &V) -> Result<(), MapError> {
            *self.writes.lock().unwrap() += 1;
            self.written.lock().unwrap().insert(key.clone(), value.clone());
            Ok(())
        }

        fn get(&self, key: &K) -> Result<Option<V>, MapError> {
            Ok(self.written.lock().unwrap().get(key).cloned())
        }

        fn delete(&mut self, key: &K) -> Result<(), MapError> {
            *self.writes.lock().unwrap() += 1;
            let gone = self.written.lock().unwrap().remove(key);
            gone.map(|_| ()).ok_or(MapError::KeyNotFound)
        }

        fn read(&self) -> Result<Vec<(K, V)>, MapError> {
            let written = self.written.lock().unwrap();
            Ok(written.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
        }
    }

    #[test]
    fn what_is_there_is_not_sent_again() {
        let paper = Paper::<u32, u32>::new();
        let mut mirror = Mirror::new("paper", 9, paper.clone());
        mirror.put(1, 2).unwrap();
        mirror.put(1, 2).unwrap();
        mirror.remove(&3).unwrap();
        assert_eq!(paper.writes(), 1);
        let mut other = Mirror::new("paper", 9, paper.clone());
        other.remove(&1).unwrap();
        assert_eq!(paper.writes(), 1, "nothing was known of it");
        other.reload().unwrap();
        other.remove(&1).unwrap();
        mirror.remove(&1).unwrap();
        assert!(paper.read().unwrap().is_empty());
    }
}
