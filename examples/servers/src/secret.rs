//! Random passwords.
//!
//! A database superuser without a password on a loopback port would let every user of the machine run programs
//! as the one who runs the tests.

use rand::Rng as _;
use rand::distr::Alphanumeric;

/// 24 letters and digits: 142 bits, and nothing that needs escaping in a URL or a configuration file.
pub(crate) fn password() -> String {
    rand::rng().sample_iter(Alphanumeric).take(24).map(char::from).collect()
}
