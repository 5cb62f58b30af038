//! Whom a server runs as.
//!
//! PostgreSQL refuses to run as root, and Redis should not. A root caller's servers run as another user, who
//! must own the server's folder.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use nix::unistd::{Uid, User};

use crate::Error;

/// The user a server runs as: the caller, unless that is root.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Account {
    Caller,
    Other { uid: u32, gid: u32 },
}

impl Account {
    /// The caller, or for root the first of `tried` that exists on this machine.
    pub(crate) fn for_server(server: &'static str, tried: &'static [&'static str]) -> Result<Self, Error> {
        if !Uid::effective().is_root() {
            return Ok(Self::Caller);
        }
        tried
            .iter()
            .filter_map(|name| User::from_name(name).ok().flatten())
            .find(|user| !user.uid.is_root())
            .map(|user| Self::Other { uid: user.uid.as_raw(), gid: user.gid.as_raw() })
            .ok_or(Error::NoAccount { server, tried })
    }

    /// Makes `command` run as this user. The groups of the caller are dropped with the user.
    pub(crate) fn apply(self, command: &mut Command) {
        if let Self::Other { uid, gid } = self {
            command.uid(uid).gid(gid);
        }
    }

    /// Gives one file or folder to this user.
    pub(crate) fn give(self, path: &Path) -> Result<(), Error> {
        match self {
            Self::Caller => Ok(()),
            Self::Other { uid, gid } => {
                chown(path, Some(uid), Some(gid)).map_err(Error::io(format!("give away {}", path.display())))
            }
        }
    }
}
