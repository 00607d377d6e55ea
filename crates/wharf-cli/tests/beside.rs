//! Beside firewalls, other engines and whoever clears things away: the real program on a host that
//! others change, too, and what its clients notice of that.

#[cfg(test)]
mod beside {
    mod allow;
    mod conntrack;
    mod endurance;
    mod engines;
    mod firewalls;
    mod forward;
    mod protection;
    mod repair;
    mod scene;
}
