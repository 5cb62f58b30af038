//! The bundled data: `airportsdata` 20260905, MIT (see data/airports.LICENSE).

use anyhow::Context;
use flate2::read::GzDecoder;
use serde::Deserialize;

use crate::airport::Airport;

static DATA: &[u8] = include_bytes!("../data/airports.csv.gz");

#[derive(Deserialize)]
struct Row {
    icao: String,
    iata: String,
    name: String,
    city: String,
    subd: String,
    country: String,
    elevation: Option<f64>,
    lat: f64,
    lon: f64,
    tz: String,
    lid: String,
}

/// All airports of the bundled file.
///
/// # Errors
/// If the file is damaged.
pub fn airports() -> anyhow::Result<Vec<Airport>> {
    let given = |text: String| (!text.is_empty()).then_some(text);
    csv::Reader::from_reader(GzDecoder::new(DATA))
        .deserialize::<Row>()
        .map(|row| {
            let row = row.context("reading the bundled airports")?;
            Ok(Airport {
                icao: row.icao,
                iata: given(row.iata),
                name: row.name,
                city: given(row.city),
                subd: given(row.subd),
                country: row.country,
                elevation: row.elevation,
                lat: row.lat,
                lon: row.lon,
                tz: given(row.tz),
                lid: given(row.lid),
            })
        })
        .collect()
}
