//! The search for the nearest airports: in a box around one of them, and in one twice as large until it surely holds them.
//!
//! The database finds what is in a box by its index of places. The distances are computed here: SQLite may know no sines, and so the
//! order is the same on every database.

use serde::Serialize;

use crate::airport::{Airport, EARTH_RADIUS_KM, distance_km};
use crate::cached::{Answer, Known};
use crate::problem::Problem;
use crate::store::Store;

/// How far the first box reaches for one airport, in degrees. For more it is so much larger that it holds a few times as many of
/// them where airports are as dense as most are: one statement does for most searches, and reads few rows in vain.
const FIRST_REACH: f64 = 0.25;

/// Where the first box takes the centre to be, in degrees from the equator: its statement is the one that tells. It is wide enough for
/// centres nearer to the equator too.
const FIRST_LATITUDE: f64 = 60.0;

/// From there on a box holds the whole earth.
const HALF_A_TURN: f64 = 180.0;

#[derive(Serialize)]
struct Nearest {
    distance_km: f64,
    #[serde(flatten)]
    airport: Airport,
}

#[derive(Serialize)]
struct NearestList<'i> {
    from: &'i str,
    nearest: Vec<Nearest>,
}

/// The answer for the `n` airports nearest to one, which is not among them; none if there is no such airport.
///
/// # Errors
/// If the database does not answer.
pub async fn search(store: &Store, icao: &str, n: usize) -> Result<Known, Problem> {
    let (mut reach, mut latitude) = (FIRST_REACH * (n as f64).sqrt(), FIRST_LATITUDE);
    loop {
        let mut inside = store.around(icao, reach, width(reach, latitude)).await?;
        let Some(centre) = inside.iter().position(|airport| airport.icao == icao) else { return Ok(None) };
        let centre = inside.swap_remove(centre);
        let nearest = rank(&centre, inside, n);
        // What is outside is farther away than the box reaches. A little is left for rounding.
        let reaches = |distance: f64| distance < 0.999 * reach.to_radians() * EARTH_RADIUS_KM;
        let is_wide_enough = centre.lat.abs() <= latitude;
        let is_sure = is_wide_enough && nearest.get(n - 1).is_some_and(|last| reaches(last.distance_km));
        if is_sure || reach >= HALF_A_TURN {
            return answer(icao, nearest).map(Some);
        }
        latitude = centre.lat.abs();
        reach *= 2.0;
    }
}

/// How far the circle with this radius around a place at this latitude reaches to the east and to the west, all in degrees.
fn width(radius: f64, latitude: f64) -> f64 {
    if radius + latitude >= 90.0 {
        // There is a pole in it, with all longitudes.
        return HALF_A_TURN;
    }
    (radius.to_radians().sin() / latitude.to_radians().cos()).asin().to_degrees()
}

/// The `n` nearest, the nearest first; of those equally far away the first by its code.
fn rank(centre: &Airport, airports: Vec<Airport>, n: usize) -> Vec<Nearest> {
    let distance = |to: &Airport| distance_km((centre.lat, centre.lon), (to.lat, to.lon));
    let mut ranked: Vec<Nearest> =
        airports.into_iter().map(|airport| Nearest { distance_km: distance(&airport), airport }).collect();
    ranked.sort_unstable_by(|a, b| {
        a.distance_km.total_cmp(&b.distance_km).then_with(|| a.airport.icao.cmp(&b.airport.icao))
    });
    ranked.truncate(n);
    ranked
}

fn answer(icao: &str, mut nearest: Vec<Nearest>) -> Result<Answer, Problem> {
    for one in &mut nearest {
        one.distance_km = (one.distance_km * 10.0).round() / 10.0;
    }
    Answer::new(&NearestList { from: icao, nearest })
}
