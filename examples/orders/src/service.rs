//! The handlers, and the way of an order: check, take from the stock, record, answer.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status};

use crate::database::Database;
use crate::orders::{Order, Orders};
use crate::proto::orders_server::Orders as Api;
use crate::proto::{
    self, CreateUserRequest, Figures, GetFiguresRequest, GetOrderRequest, GetStockRequest, GetUserRequest,
    ListOrdersRequest, ListOrdersResponse, PlaceOrderRequest, SetStockRequest, User,
};
use crate::refusal::Refusal;
use crate::stock::{Reservation, Reserved, Stock};
use crate::users::Users;
use crate::{figures, valid};

/// All that the handlers share.
#[derive(Debug)]
pub struct App {
    /// The database.
    pub database: Arc<Database>,
    /// Users.
    pub users: Users,
    /// Articles.
    pub stock: Stock,
    /// Orders.
    pub orders: Orders,
    /// The name under which units are reserved.
    pub instance: String,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// Orders on their way, which end also when nobody waits for them.
    pub under_way: TaskTracker,
    /// Their ids: of two calls for one order, one is told to ask again.
    pub placing: Mutex<HashSet<String>>,
}

/// The service.
#[derive(Clone, Debug)]
pub struct Service(pub Arc<App>);

/// An id in [`App::placing`].
struct Placing<'a> {
    app: &'a App,
    id: String,
}

impl<'a> Placing<'a> {
    fn begin(app: &'a App, id: &str) -> Result<Self, Refusal> {
        if app.placing.lock().insert(id.to_owned()) {
            Ok(Self { app, id: id.to_owned() })
        } else {
            Err(Refusal::InProgress(id.to_owned()))
        }
    }
}

impl Drop for Placing<'_> {
    fn drop(&mut self) {
        self.app.placing.lock().remove(&self.id);
    }
}

impl App {
    async fn within<T>(&self, work: impl Future<Output = Result<T, Refusal>>) -> Result<Response<T>, Status> {
        let done = tokio::time::timeout(self.request_timeout, work).await;
        Ok(Response::new(done.unwrap_or(Err(Refusal::TooLong))?))
    }

    async fn place(self: &Arc<Self>, id: String, order: Order) -> Result<proto::Order, Refusal> {
        self.users.name(&order.user_id).await?;
        let app = Arc::clone(self);
        // A task, so that it goes to its end when the client leaves: units that were taken belong to an order.
        let placed = self.under_way.spawn(async move {
            let _placing = Placing::begin(&app, &id)?;
            let order = app.reserve_and_record(&id, order).await?;
            Ok(message(id, order))
        });
        placed.await.map_err(|error| Refusal::internal(&error))?
    }

    /// The order as it was recorded, now or before.
    async fn reserve_and_record(&self, id: &str, order: Order) -> Result<Order, Refusal> {
        let reservation = Reservation {
            order_id: id.to_owned(),
            user_id: order.user_id.clone(),
            sku: order.sku.clone(),
            quantity: order.quantity,
            owner: self.instance.clone(),
        };
        let mut may_lack_journal = false;
        let placed = match self.stock.reserve(reservation.clone()).await? {
            Reserved::Done => None,
            Reserved::Unknown => return Err(Refusal::not_found("article", order.sku)),
            Reserved::SoldOut(left) => {
                return Err(Refusal::SoldOut { sku: order.sku, left, wanted: order.quantity });
            }
            Reserved::Ordered => match self.orders.find_now(id).await? {
                Some(placed) => Some(placed),
                None => return Err(Refusal::InProgress(id.to_owned())),
            },
            Reserved::Before(before) => match self.orders.find(id).await? {
                Some(placed) => {
                    may_lack_journal = true;
                    Some(placed)
                }
                // An earlier call took the units, and lost its answer before the order was recorded.
                None if before == reservation => None,
                None if before.owner == reservation.owner => return Err(another(id)),
                None => return Err(Refusal::InProgress(id.to_owned())),
            },
        };
        if let Some(placed) = placed {
            let is_the_same = (&placed.user_id, &placed.sku, placed.quantity)
                == (&order.user_id, &order.sku, order.quantity);
            if !is_the_same {
                return Err(another(id));
            }
            if may_lack_journal {
                // It waits in the queue, and perhaps its call was refused because the journal failed. Once more does no harm.
                self.orders.record(id.to_owned(), placed.clone()).await.map_err(|failed| failed.refusal)?;
            }
            return Ok(placed);
        }
        let Err(failed) = self.orders.record(id.to_owned(), order.clone()).await else { return Ok(order) };
        if failed.is_queued {
            return Err(failed.refusal);
        }
        if let Err(error) = self.stock.release(&reservation).await {
            // The next start of this instance does it.
            tracing::warn!(order = %id, %error, "units stay reserved");
        }
        Err(failed.refusal)
    }

    async fn list(&self, request: ListOrdersRequest) -> Result<ListOrdersResponse, Refusal> {
        let user = valid::id("user_id", request.user_id)?;
        let size = valid::page_size(request.page_size)?;
        let token = request.page_token;
        let after = match token.split_once('~') {
            _ if token.is_empty() => None,
            Some((time, id)) => {
                Some((time.parse().map_err(|_| Refusal::invalid("page_token is not one of ours"))?, id))
            }
            None => return Err(Refusal::invalid("page_token is not one of ours")),
        };
        self.users.name(&user).await?;
        // One more, to know whether there is another page.
        let mut rows = self.orders.list(&user, after, size + 1).await?;
        let has_more = rows.len() as i64 > size;
        rows.truncate(size as usize);
        let last = rows.last().filter(|_| has_more);
        let next_page_token =
            last.map_or(String::new(), |(id, order)| format!("{}~{id}", order.placed_at_ms));
        let orders = rows.into_iter().map(|(id, order)| message(id, order)).collect();
        Ok(ListOrdersResponse { orders, next_page_token })
    }
}

fn another(id: &str) -> Refusal {
    Refusal::Exists { what: "order", id: id.to_owned() }
}

fn message(order_id: String, order: Order) -> proto::Order {
    let Order { user_id, sku, quantity, placed_at_ms } = order;
    proto::Order { order_id, user_id, sku, quantity, placed_at_ms }
}

#[tonic::async_trait]
impl Api for Service {
    async fn create_user(&self, request: Request<CreateUserRequest>) -> Result<Response<User>, Status> {
        let CreateUserRequest { user_id, name } = request.into_inner();
        let (user_id, name) = (valid::id("user_id", user_id)?, valid::name(&name)?);
        let app = &self.0;
        app.within(async {
            app.users.create(&user_id, &name).await?;
            Ok(User { user_id, name })
        })
        .await
    }

    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<User>, Status> {
        let user_id = valid::id("user_id", request.into_inner().user_id)?;
        let app = &self.0;
        app.within(async {
            let name = app.users.name(&user_id).await?.as_ref().to_owned();
            Ok(User { user_id, name })
        })
        .await
    }

    async fn set_stock(&self, request: Request<SetStockRequest>) -> Result<Response<proto::Stock>, Status> {
        let SetStockRequest { sku, units } = request.into_inner();
        let (sku, units) = (valid::id("sku", sku)?, valid::units(units)?);
        let app = &self.0;
        app.within(async {
            app.stock.set(&sku, units).await?;
            Ok(proto::Stock { sku, units })
        })
        .await
    }

    async fn get_stock(&self, request: Request<GetStockRequest>) -> Result<Response<proto::Stock>, Status> {
        let sku = valid::id("sku", request.into_inner().sku)?;
        let app = &self.0;
        app.within(async {
            let units = app.stock.units(&sku).await?;
            Ok(proto::Stock { sku, units })
        })
        .await
    }

    async fn place_order(
        &self,
        request: Request<PlaceOrderRequest>,
    ) -> Result<Response<proto::Order>, Status> {
        let PlaceOrderRequest { order_id, user_id, sku, quantity } = request.into_inner();
        let id = valid::id("order_id", order_id)?;
        let order = Order {
            user_id: valid::id("user_id", user_id)?,
            sku: valid::id("sku", sku)?,
            quantity: valid::quantity(quantity)?,
            placed_at_ms: jiff::Timestamp::now().as_millisecond(),
        };
        self.0.within(self.0.place(id, order)).await
    }

    async fn get_order(&self, request: Request<GetOrderRequest>) -> Result<Response<proto::Order>, Status> {
        let id = valid::id("order_id", request.into_inner().order_id)?;
        let app = &self.0;
        app.within(async {
            let order = app.orders.find(&id).await?.ok_or_else(|| Refusal::not_found("order", &id))?;
            Ok(message(id, order))
        })
        .await
    }

    async fn list_orders(
        &self,
        request: Request<ListOrdersRequest>,
    ) -> Result<Response<ListOrdersResponse>, Status> {
        self.0.within(self.0.list(request.into_inner())).await
    }

    async fn get_figures(&self, _: Request<GetFiguresRequest>) -> Result<Response<Figures>, Status> {
        let App { database, users, stock, orders, .. } = &*self.0;
        Ok(Response::new(figures::figures(database, users, stock, orders)))
    }
}
