//! `deadpool::managed::Pool` with the settings it comes with.

use std::convert::Infallible;

use deadpool::managed::{Manager, Metrics, Object, Pool, RecycleResult};

use super::{Connection, Tasks};

pub(super) struct Numbers;

impl Manager for Numbers {
    type Type = Connection;
    type Error = Infallible;

    async fn create(&self) -> Result<Connection, Infallible> {
        Ok(0)
    }

    async fn recycle(&self, _: &mut Connection, _: &Metrics) -> RecycleResult<Infallible> {
        Ok(())
    }
}

pub(super) struct Deadpool(Pool<Numbers>);

impl Tasks for Deadpool {
    type Held = Object<Numbers>;

    fn make(size: usize) -> Self {
        Self(Pool::builder(Numbers).max_size(size).build().expect("the settings are valid"))
    }

    #[inline]
    async fn get(&'static self) -> Self::Held {
        self.0.get().await.expect("connecting can't fail")
    }
}
