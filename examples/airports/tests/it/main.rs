//! The service end to end: a real server on a free port, a real client, real databases.

mod behaviour;
mod caching;
mod cluster;
mod faults;
mod files;
mod limits;
mod long_outage;
mod nearest;
mod paging;
mod support;
mod views;
mod writes;
mod wrong_input;
