//! Millpond beside its peers.
fn main() {}
