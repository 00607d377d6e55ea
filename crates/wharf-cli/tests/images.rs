//! Where images come from, and where they go.

#[cfg(test)]
mod images {
    mod archive;
    mod cut_off;
    mod docker;
    mod log_in;
    mod names;
    mod oci;
    mod pulling;
    mod refused;
    mod saving;
    mod server;
    mod site;
    mod stub;
}
