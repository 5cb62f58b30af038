//! A gRPC service of users, stock and orders: the three ways in which `millpond-cache` writes, in one real program.
//!
//! - [`config`]: options and their environment twins. [`valid`]: what a request may say.
//! - [`users`]: read-through. [`stock`]: write-through, with conditional updates. [`orders`]: write-behind with a journal.
//! - [`database`]: pools on SQLite or PostgreSQL, and the tables. [`data`]: what the process keeps on its own disk.
//! - [`service`]: the handlers. [`refusal`]: errors as gRPC statuses. [`figures`]: what was counted.
//! - [`again`]: for clients, calls that are made again.
//! - [`serve`]: from a configuration to a running server, what a crash left, and the clean end.

pub mod again;
pub mod config;
pub mod data;
pub mod database;
pub mod figures;
pub mod orders;
pub mod refusal;
pub mod serve;
pub mod service;
pub mod stock;
pub mod users;
pub mod valid;
mod waiting;

/// Messages, client and server, generated from `proto/orders.proto`.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    single_use_lifetimes,
    clippy::all,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    clippy::missing_errors_doc,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
pub mod proto {
    tonic::include_proto!("millpond.orders.v1");

    /// The same in the form that servers tell.
    pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("descriptors");
}
