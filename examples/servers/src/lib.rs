//! Private servers for tests and demos.
