//! What was counted, for [`GetFigures`](crate::proto::orders_server::Orders::get_figures).

use crate::database::Database;
use crate::orders::Orders;
use crate::proto::{CacheFigures, Figures};
use crate::stock::Stock;
use crate::users::Users;

fn of(stats: &millpond_cache::Stats) -> CacheFigures {
    CacheFigures { hits: stats.hits(), misses: stats.misses() }
}

/// All figures of one moment.
#[must_use]
pub fn figures(database: &Database, users: &Users, stock: &Stock, orders: &Orders) -> Figures {
    let queue = orders.queue();
    Figures {
        users: Some(of(&users.stats())),
        stock: Some(of(&stock.stats())),
        orders: Some(of(&orders.stats())),
        statements: database.statements(),
        order_batches: queue.batches(),
        orders_written: queue.written(),
        orders_waiting: queue.queue_length() as u64,
        journal_syncs: queue.journal_syncs(),
    }
}
