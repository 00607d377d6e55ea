//! The Wharf daemon: ledger, store, reconciler and HTTP API.
