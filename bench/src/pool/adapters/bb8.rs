//! `bb8::Pool` with guards that borrow it, and without the check before each borrow.

use std::convert::Infallible;

use bb8::{ManageConnection, Pool, PooledConnection};

use super::{Connection, Tasks};

pub(super) struct Numbers;

impl ManageConnection for Numbers {
    type Connection = Connection;
    type Error = Infallible;

    async fn connect(&self) -> Result<Connection, Infallible> {
        Ok(0)
    }

    async fn is_valid(&self, _: &mut Connection) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, _: &mut Connection) -> bool {
        false
    }
}

pub(super) struct Bb8(Pool<Numbers>);

impl Tasks for Bb8 {
    type Held = PooledConnection<'static, Numbers>;

    fn make(size: usize) -> Self {
        let size = u32::try_from(size).expect("pools are small");
        Self(Pool::builder().max_size(size).test_on_check_out(false).build_unchecked(Numbers))
    }

    #[inline]
    async fn get(&'static self) -> Self::Held {
        loop {
            // Some wait for the whole 30 s: bb8 may lose a wake-up, and newcomers pass those who wait.
            if let Ok(held) = self.0.get().await {
                return held;
            }
        }
    }
}
