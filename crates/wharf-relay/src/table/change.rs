//! Routes that are led elsewhere, or get other options, while they serve.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::removal::Told;
use super::{State, Table, check};
use crate::context::Command;
use crate::limits::Share;
use crate::protocol::{Phase, Refusal, Route};
use crate::route::Served;
use crate::route::inside::Entrance;

/// Changed routes by key.
pub(crate) type Changed = HashMap<u32, Arc<Served>>;

/// What is asked for one route.
#[derive(Debug)]
struct Change {
    route: Route,
    entrance: Option<(Entrance, Share)>,
}

// === impl Table ===

impl Table {
    /// Changes open routes, all or none; those that are not there are passed over if `lenient`.
    /// When this returns, every loop goes by the changed ones.
    pub(crate) fn change(
        &self,
        routes: Vec<Route>,
        descriptors: Vec<OwnedFd>,
        lenient: bool,
    ) -> Result<(), Refusal> {
        let entrances = check::deal_changes(&routes, descriptors)?;
        let changes = self.changes(routes, entrances)?;
        let order = self.order();
        let mut state = self.lock();
        for Change { route, .. } in &changes {
            match state.check_change(route) {
                Err(Refusal::Unknown { .. }) if lenient => {}
                checked => checked?,
            }
        }
        let changed = changes.into_iter().filter_map(|change| state.change(change)).collect();
        drop(state);
        let told = self.tell_changed(changed);
        drop(order);
        told.await_all();
        Ok(())
    }

    /// Every route with what leads inside, and descriptors for that.
    fn changes(
        &self,
        routes: Vec<Route>,
        entrances: Vec<Option<Entrance>>,
    ) -> Result<Vec<Change>, Refusal> {
        let needed = routes.iter().map(Route::descriptors_of_change).sum();
        let with_share = |(route, entrance): (Route, Option<Entrance>)| {
            let share = |entrance| {
                let share = self.context.budget.take(route.descriptors_of_change());
                share.map(|share| (entrance, share)).ok_or_else(|| self.exhausted(needed))
            };
            let entrance = entrance.map(share).transpose()?;
            Ok(Change { route, entrance })
        };
        routes.into_iter().zip(entrances).map(with_share).collect()
    }

    fn tell_changed(&self, changed: Changed) -> Told {
        let changed = Arc::new(changed);
        self.tell(changed.is_empty(), |done| Command::Change {
            changed: Arc::clone(&changed),
            done,
        })
    }
}

// === impl State ===

impl State {
    fn check_change(&self, route: &Route) -> Result<(), Refusal> {
        let key = self.keys.get(&route.id);
        let Some(entry) = key.and_then(|key| self.entries.get(key)) else {
            return Err(Refusal::Unknown { id: route.id.clone() });
        };
        if entry.phase == Phase::Held {
            let reason = "it does not serve yet; open it first".to_owned();
            return Err(Refusal::Route { id: route.id.clone(), reason });
        }
        route.check_change(&entry.served.shared.route)
    }

    /// Puts a changed route in the place of the one that was; `None` if there is none.
    fn change(&mut self, change: Change) -> Option<(u32, Arc<Served>)> {
        let Change { route, entrance } = change;
        let key = *self.keys.get(&route.id)?;
        let inside = entrance.map(|(entrance, share)| self.insides.adopt(entrance, share));
        let way_back = self.ways_back.of(&route, inside.as_ref());
        let entry = self.entries.get_mut(&key)?;
        entry.served = Arc::new(entry.served.changed(route, inside, way_back));
        Some((key, Arc::clone(&entry.served)))
    }
}
