//! `millpond_pool::Pool` with the settings it comes with: owned guards, borrowed ones, and eventual fairness.

use std::convert::Infallible;
use std::time::Duration;

use millpond_pool::{Fairness, Guard, GuardRef, Manager, Pool};

use super::{Connection, Tasks, Threads};

pub(super) struct Numbers;

impl Manager for Numbers {
    type Connection = Connection;
    type Error = Infallible;

    async fn connect(&self) -> Result<Connection, Infallible> {
        Ok(0)
    }
}

fn pool(size: usize, fairness: Fairness) -> Pool<Numbers> {
    Pool::builder(Numbers).max_size(size).fairness(fairness).build().expect("the settings are valid")
}

pub(super) struct Millpond(Pool<Numbers>);

impl Tasks for Millpond {
    type Held = Guard<Numbers>;

    fn make(size: usize) -> Self {
        Self(pool(size, Fairness::Strict))
    }

    #[inline]
    async fn get(&'static self) -> Self::Held {
        self.0.get().await.expect("connecting can't fail")
    }
}

impl Threads for Millpond {
    type Held = Guard<Numbers>;

    fn make(size: usize) -> Self {
        Self(pool(size, Fairness::Strict))
    }

    #[inline]
    fn get(&'static self) -> Self::Held {
        self.0.get_blocking().expect("connecting can't fail")
    }
}

pub(super) struct MillpondRef(Pool<Numbers>);

impl Tasks for MillpondRef {
    type Held = GuardRef<'static, Numbers>;

    fn make(size: usize) -> Self {
        Self(pool(size, Fairness::Strict))
    }

    #[inline]
    async fn get(&'static self) -> Self::Held {
        self.0.get_ref().await.expect("connecting can't fail")
    }
}

/// Newcomers may pass those who wait, for this long.
const EVENTUAL: Fairness = Fairness::Eventual(Duration::from_millis(2));

pub(super) struct MillpondEventual(Pool<Numbers>);

impl Tasks for MillpondEventual {
    type Held = Guard<Numbers>;

    fn make(size: usize) -> Self {
        Self(pool(size, EVENTUAL))
    }

    #[inline]
    async fn get(&'static self) -> Self::Held {
        self.0.get().await.expect("connecting can't fail")
    }
}

impl Threads for MillpondEventual {
    type Held = Guard<Numbers>;

    fn make(size: usize) -> Self {
        Self(pool(size, EVENTUAL))
    }

    #[inline]
    fn get(&'static self) -> Self::Held {
        self.0.get_blocking().expect("connecting can't fail")
    }
}
