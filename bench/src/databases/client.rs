//! What sessions of tokio-postgres have in common.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, Error, NoTls, SimpleQueryMessage};

use super::{LOOK_UP, told};

/// Opens a connection whose task ends with its client.
pub(super) async fn connect(config: &Config) -> Result<Client, Error> {
    let (client, connection) = config.connect(NoTls).await?;
    // Its error is what the client's next call says.
    tokio::spawn(connection);
    Ok(client)
}

pub(super) async fn run(client: &Client, sql: &str) -> Result<Option<String>, String> {
    let messages = client.simple_query(sql).await.map_err(told)?;
    Ok(messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
        _ => None,
    }))
}

/// In one round trip, without a statement that stays.
pub(super) async fn look_up(client: &Client, id: i32) -> Result<i64, String> {
    let rows = client.query_typed(LOOK_UP, &[(&id, Type::INT4)]).await.map_err(told)?;
    rows.first().map(|row| row.get(0)).ok_or_else(|| "no such account".to_owned())
}
