//! Whether a Redis is a primary, and since when without a break.
//!
//! A replica takes messages and tells nobody but its own subscribers, and it keeps values that the primary has dropped.

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError};

/// What `INFO replication` tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replication {
    is_replica: bool,
    /// Another one after each time as a replica. `None`: it does not tell.
    history: Option<String>,
}

impl Replication {
    pub(crate) fn read(info: &str) -> Self {
        let field = |name| info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        Self {
            is_replica: field("role:") == Some("slave"),
            history: field("master_replid:").map(str::to_owned),
        }
    }

    /// Asks; an account that may not ask is told nothing, and takes the server for a primary.
    pub(crate) async fn of(connection: &mut MultiplexedConnection) -> Self {
        let info: Result<String, RedisError> = question().query_async(connection).await;
        info.map_or_else(|_| Self::default(), |info| Self::read(&info))
    }

    pub(crate) fn is_primary(&self) -> Result<(), RedisError> {
        if self.is_replica {
            return Err(error("this Redis is a replica: what is sent there, others do not hear"));
        }
        Ok(())
    }

    /// Whether it is a primary now, and has been one all the time since it told that.
    pub(crate) fn is_primary_since(&self, then: &Self) -> Result<(), RedisError> {
        self.is_primary()?;
        match (&self.history, &then.history) {
            (Some(now), Some(then)) if now != then => Err(error("this Redis was a replica for a while")),
            _ => Ok(()),
        }
    }
}

/// `INFO replication`.
pub(crate) fn question() -> redis::Cmd {
    let mut command = redis::cmd("INFO");
    command.arg("replication");
    command
}

fn error(text: &'static str) -> RedisError {
    RedisError::from((ErrorKind::Io, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_who_is_a_primary_and_who_was_one_all_the_time() {
        let read = |role, history| {
            Replication::read(&format!("# Replication\r\nrole:{role}\r\nmaster_replid:{history}\r\n"))
        };
        let then = read("master", "aa");
        assert!(then.is_primary().is_ok() && then.is_primary_since(&then).is_ok());
        assert!(read("slave", "aa").is_primary_since(&then).is_err());
        assert!(read("master", "bb").is_primary_since(&then).is_err());
        // Who tells nothing is believed.
        assert!(Replication::read("").is_primary_since(&then).is_ok());
        assert!(then.is_primary_since(&Replication::default()).is_ok());
    }
}
