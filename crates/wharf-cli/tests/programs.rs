//! Real programs of Debian's, packed as images: they run, publish, restart and keep their data.

#[cfg(test)]
mod programs {
    mod databases;
    mod servers;
    mod shelf;
}
