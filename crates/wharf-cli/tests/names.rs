//! Names of containers and how containers are connected, through the real program in a test host.

#[cfg(test)]
mod names {
    mod ask;
    mod connect;
    mod follow;
    mod forward;
    mod modes;
    mod options;
    mod resolve;
    mod resolver;
    mod site;
}
