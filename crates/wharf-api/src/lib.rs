//! The API of the Wharf daemon: types, OpenAPI document, client.
