//! Containers without Docker: images, bundles, and a shim process per container.
