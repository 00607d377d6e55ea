//! Names of containers and networks.
