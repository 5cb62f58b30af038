//! The servers, really started, killed, frozen and brought back.

mod missing;
mod owner_dies;
mod postgres;
mod redis;
mod support;
mod template;
