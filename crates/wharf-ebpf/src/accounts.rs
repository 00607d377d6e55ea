//! What publications have counted. The programs write these entries, too.

use std::collections::{BTreeMap, BTreeSet};

use aya::maps::{HashMap, MapData};
use wharf_spec::PublicationId;

use crate::Counters;
use crate::error::Result;
use crate::layout::{ACCOUNTS_LIMIT, Account, AccountBytes};
use crate::mirror::{Table, refused};
use crate::numbers::Numbers;

const MAP: &str = "accounts";

/// One account for each publication, kept until its last open connection has ended.
#[derive(Debug)]
pub(crate) struct Accounts {
    table: Box<dyn Table<u32, AccountBytes>>,
    numbers: BTreeMap<PublicationId, u32>,
    taken: Numbers,
    /// How many entries of the plan use one.
    uses: BTreeMap<u32, usize>,
    /// Those that none uses: they are kept for their connections.
    unused: BTreeSet<u32>,
}

// === impl Accounts ===

impl Accounts {
    pub(crate) fn new(map: HashMap<MapData, u32, AccountBytes>) -> Self {
        Self::of(map)
    }

    pub(crate) fn of(table: impl Table<u32, AccountBytes> + 'static) -> Self {
        Self {
            table: Box::new(table),
            numbers: BTreeMap::new(),
            taken: Numbers::default(),
            uses: BTreeMap::new(),
            unused: BTreeSet::new(),
        }
    }

    /// Looks into the map; who uses an account is to be said anew.
    pub(crate) fn reload(&mut self) -> Result<()> {
        self.uses.clear();
        let found = self.read()?;
        self.taken = found.keys().copied().collect();
        self.unused = found.keys().copied().collect();
        self.numbers = found.into_iter().map(|(number, it)| (named(&it), number)).collect();
        Ok(())
    }

    pub(crate) fn read(&self) -> Result<BTreeMap<u32, Account>> {
        let found = self.table.read().map_err(refused("read", MAP, ACCOUNTS_LIMIT))?;
        Ok(found.into_iter().map(|(number, bytes)| (number, Account::decode(&bytes))).collect())
    }

    /// The number of a publication's account, which is made if there is none.
    pub(crate) fn open(&mut self, publication: &PublicationId) -> Result<u32> {
        if let Some(number) = self.numbers.get(publication) {
            return Ok(*number);
        }
        let number = self.taken.take();
        let account = Account::new(&publication.0).encode();
        self.table.put(&number, &account).map_err(refused("write", MAP, ACCOUNTS_LIMIT))?;
        self.numbers.insert(publication.clone(), number);
        self.unused.insert(number);
        Ok(number)
    }

    /// One more entry of the plan uses the account.
    pub(crate) fn hold(&mut self, number: u32) {
        *self.uses.entry(number).or_default() += 1;
        self.unused.remove(&number);
    }

    /// One entry less uses the account.
    pub(crate) fn release(&mut self, number: u32) {
        let Some(count) = self.uses.get_mut(&number) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.uses.remove(&number);
            self.unused.insert(number);
        }
    }

    /// Removes accounts that nothing uses and that have no connection open.
    pub(crate) fn sweep(&mut self) -> Result<()> {
        // Only these are looked at: a change must not cost more where more is published.
        for number in self.unused.clone() {
            let found = self.table.get(&number).map_err(refused("read", MAP, ACCOUNTS_LIMIT))?;
            let found = found.map(|bytes| Account::decode(&bytes));
            if found.as_ref().is_some_and(|account| account.open > 0) {
                continue;
            }
            if found.is_some() {
                self.table.delete(&number).map_err(refused("delete from", MAP, ACCOUNTS_LIMIT))?;
            }
            self.forget(number, found.as_ref());
        }
        Ok(())
    }

    /// Says how many connections of an account are open, unless it has counted anything since it was
    /// seen to be `seen`. Not in one step, so this is for accounts that are not in use just now.
    pub(crate) fn recount(&mut self, number: u32, seen: &Account, open: u64) -> Result<()> {
        let found = self.table.get(&number).map_err(refused("read", MAP, ACCOUNTS_LIMIT))?;
        if found.map(|bytes| Account::decode(&bytes)).as_ref() != Some(seen) {
            return Ok(());
        }
        let right = Account { open, ..seen.clone() }.encode();
        self.table.put(&number, &right).map_err(refused("write", MAP, ACCOUNTS_LIMIT))
    }

    fn forget(&mut self, number: u32, account: Option<&Account>) {
        match account.map(named) {
            Some(id) if self.numbers.get(&id) == Some(&number) => {
                self.numbers.remove(&id);
            }
            Some(_) => {}
            None => self.numbers.retain(|_, other| *other != number),
        }
        self.unused.remove(&number);
        self.taken.give_back(number);
    }

    /// What each publication has counted.
    pub(crate) fn counters(&self) -> Result<BTreeMap<PublicationId, Counters>> {
        let counted = self.read()?.into_values().map(|it| {
            let Account { connections, open, datagrams, .. } = it;
            (named(&it), Counters { connections, open, datagrams })
        });
        Ok(counted.collect())
    }

    /// The accounts of `publications`.
    pub(crate) fn numbers_of(&self, publications: &BTreeSet<PublicationId>) -> BTreeSet<u32> {
        publications.iter().filter_map(|id| self.numbers.get(id).copied()).collect()
    }
}

fn named(account: &Account) -> PublicationId {
    PublicationId(account.id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::tests::Paper;

    fn id(text: &str) -> PublicationId {
        PublicationId(text.into())
    }

    fn with_open(paper: &mut Paper<u32, AccountBytes>, number: u32, open: u64) {
        let mut account = Account::decode(&paper.read().unwrap()[0].1);
        account.open = open;
        paper.put(&number, &account.encode()).unwrap();
    }

    #[test]
    fn an_account_stays_until_its_last_connection_has_ended() {
        let mut paper = Paper::new();
        let mut accounts = Accounts::of(paper.clone());
        let number = accounts.open(&id("web")).unwrap();
        accounts.hold(number);
        assert_eq!(accounts.open(&id("web")).unwrap(), number);
        with_open(&mut paper, number, 1);
        accounts.release(number);
        accounts.sweep().unwrap();
        assert_eq!(accounts.counters().unwrap()[&id("web")].open, 1);
        with_open(&mut paper, number, 0);
        accounts.sweep().unwrap();
        assert!(accounts.counters().unwrap().is_empty());
    }

    #[test]
    fn one_in_use_is_not_swept_after_a_restart() {
        let paper = Paper::new();
        Accounts::of(paper.clone()).open(&id("web")).unwrap();
        let mut accounts = Accounts::of(paper);
        accounts.reload().unwrap();
        let number = accounts.open(&id("web")).unwrap();
        accounts.hold(number);
        accounts.sweep().unwrap();
        assert_eq!(accounts.numbers_of(&BTreeSet::from([id("web")])), BTreeSet::from([number]));
        assert_ne!(accounts.open(&id("db")).unwrap(), number);
    }
}
