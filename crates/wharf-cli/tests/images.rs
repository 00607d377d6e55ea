//! Where images come from, and where they go.

#[cfg(test)]
mod images {
    mod archive;
    mod docker;
    mod names;
    mod oci;
    mod site;
}
