//! The airports service.
fn main() {}
