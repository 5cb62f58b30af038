//! An airport, and what makes one valid.

use serde::{Deserialize, Serialize};

/// A row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, sqlx::FromRow)]
pub struct Airport {
    /// ICAO code or local identifier, upper case: the key.
    pub icao: String,
    /// IATA code.
    pub iata: Option<String>,
    /// Name.
    pub name: String,
    /// City.
    pub city: Option<String>,
    /// Part of the country.
    pub subd: Option<String>,
    /// ISO 3166 country code.
    pub country: String,
    /// Feet above the sea.
    pub elevation: Option<f64>,
    /// Degrees north.
    pub lat: f64,
    /// Degrees east.
    pub lon: f64,
    /// Time zone.
    pub tz: Option<String>,
    /// The local authority's identifier.
    pub lid: Option<String>,
}

/// What a client may write.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AirportInput {
    /// If given, the same as in the path.
    pub icao: Option<String>,
    /// See [`Airport::iata`].
    pub iata: Option<String>,
    /// See [`Airport::name`].
    pub name: String,
    /// See [`Airport::city`].
    pub city: Option<String>,
    /// See [`Airport::subd`].
    pub subd: Option<String>,
    /// See [`Airport::country`].
    pub country: String,
    /// See [`Airport::elevation`].
    pub elevation: Option<f64>,
    /// See [`Airport::lat`].
    pub lat: f64,
    /// See [`Airport::lon`].
    pub lon: f64,
    /// See [`Airport::tz`].
    pub tz: Option<String>,
    /// See [`Airport::lid`].
    pub lid: Option<String>,
}

/// A code as it is stored, or why it can't be one.
///
/// # Errors
/// What is wrong with it, for the client.
pub fn icao(text: &str) -> Result<String, String> {
    let valid = text.len() == 4 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if valid {
        Ok(text.to_ascii_uppercase())
    } else {
        Err(format!("icao: {text:?} is not four letters or digits"))
    }
}

/// A country code as it is stored, or why it can't be one.
///
/// # Errors
/// What is wrong with it, for the client.
pub fn country(text: &str) -> Result<String, String> {
    let valid = text.len() == 2 && text.bytes().all(|b| b.is_ascii_alphabetic());
    if valid { Ok(text.to_ascii_uppercase()) } else { Err(format!("country: {text:?} is not two letters")) }
}

impl AirportInput {
    /// The row for this key, or everything that is wrong.
    ///
    /// # Errors
    /// One sentence for each field.
    pub fn validate(self, key: &str) -> Result<Airport, Vec<String>> {
        let mut wrong = Vec::new();
        if self.icao.as_ref().is_some_and(|given| !given.eq_ignore_ascii_case(key)) {
            wrong.push("icao: differs from the one in the path".to_owned());
        }
        let texts = [
            ("iata", &self.iata, 3),
            ("city", &self.city, 100),
            ("subd", &self.subd, 100),
            ("tz", &self.tz, 64),
            ("lid", &self.lid, 16),
        ];
        for (field, text, most) in texts {
            check_text(field, text.as_deref(), most, &mut wrong);
        }
        if self.name.trim().is_empty() {
            wrong.push("name: is empty".to_owned());
        }
        check_text("name", Some(&self.name), 200, &mut wrong);
        let country = country(&self.country).unwrap_or_else(|reason| {
            wrong.push(reason);
            String::new()
        });
        for (field, value, most) in [
            ("lat", Some(self.lat), 90.0),
            ("lon", Some(self.lon), 180.0),
            ("elevation", self.elevation, 30_000.0),
        ] {
            // Also catches what is not a number.
            if value.is_some_and(|value| !(-most..=most).contains(&value)) {
                wrong.push(format!("{field}: must be between -{most} and {most}"));
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        Ok(Airport {
            icao: key.to_owned(),
            iata: self.iata,
            name: self.name,
            city: self.city,
            subd: self.subd,
            country,
            elevation: self.elevation,
            lat: self.lat,
            lon: self.lon,
            tz: self.tz,
            lid: self.lid,
        })
    }
}

fn check_text(field: &str, text: Option<&str>, most: usize, wrong: &mut Vec<String>) {
    let Some(text) = text else { return };
    if text.chars().count() > most {
        wrong.push(format!("{field}: longer than {most} characters"));
    }
    if text.contains('\0') {
        wrong.push(format!("{field}: contains a NUL"));
    }
}

impl Airport {
    /// What a search looks through: lower case, the same on every database.
    #[must_use]
    pub fn search_text(&self) -> String {
        let parts = [Some(&self.icao), self.iata.as_ref(), Some(&self.name), self.city.as_ref()];
        parts.into_iter().flatten().map(|part| part.to_lowercase()).collect::<Vec<_>>().join(" ")
    }
}

/// The earth's mean radius.
pub const EARTH_RADIUS_KM: f64 = 6371.0088;

/// Kilometres between two places on a sphere of the earth's mean radius (the haversine formula).
#[must_use]
pub fn distance_km(from: (f64, f64), to: (f64, f64)) -> f64 {
    let (lat1, lat2) = (from.0.to_radians(), to.0.to_radians());
    let half_lat = (lat2 - lat1) / 2.0;
    let half_lon = (to.1 - from.1).to_radians() / 2.0;
    let h = half_lat.sin().powi(2) + lat1.cos() * lat2.cos() * half_lon.sin().powi(2);
    2.0 * EARTH_RADIUS_KM * h.sqrt().clamp(0.0, 1.0).asin()
}
