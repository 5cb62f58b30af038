//! The service end to end: a real server on a free port, a real client, real databases.

mod behaviour;
mod faults;
mod support;
mod wrong_input;
