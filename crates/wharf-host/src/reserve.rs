//! Reserved host ports: really bound sockets behind a drop filter.
