//! A free loopback port that stays free while its server is down.
//!
//! Asking the system for "any port" gives one from the range it also hands to outgoing connections, so a
//! connection of some other program could take the port between a kill and the restart. Ports below that range
//! (20000 to 32767) are only taken by someone who asks for them by number. They are picked at random, so that
//! servers starting at once in many processes seldom meet; where they do, the start is tried again.

use std::net::{Ipv4Addr, TcpListener};

use rand::Rng as _;

/// A port that nobody listens on at this moment.
pub(crate) fn pick() -> u16 {
    let mut rng = rand::rng();
    let mut port = 0;
    for _ in 0..100 {
        port = rng.random_range(20_000..32_768);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            break;
        }
    }
    port
}
