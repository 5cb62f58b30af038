//! Charts as SVG, in colours that the page can turn over: what is black here takes the colour of the text.

use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;

use crate::table::number;

/// Above this ratio of the longest bar to the shortest, the scale is logarithmic: the short ones could not be told apart.
const LOGARITHMIC: f64 = 20.0;
const WIDTH: u32 = 760;
const OWN: RGBColor = RGBColor(31, 138, 112);
const OTHER: RGBColor = RGBColor(138, 148, 166);
/// The Okabe-Ito palette without its black, which people with any colour vision can tell apart.
const PALETTE: [RGBColor; 7] = [
    RGBColor(0, 158, 115),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(204, 121, 167),
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(190, 175, 40),
];

/// A bar.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    name: String,
    value: f64,
}

impl Bar {
    pub(super) fn new(name: String, value: f64) -> Self {
        Self { name, value }
    }
}

impl From<(String, f64)> for Bar {
    fn from((name, value): (String, f64)) -> Self {
        Self { name, value }
    }
}

/// A line.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(i32, f64)>,
}

/// Horizontal bars, the first on top. `None` if there is nothing to draw.
pub(super) fn bars(caption: &str, bars: &[Bar]) -> Option<String> {
    let finite = bars.iter().all(|bar| bar.value.is_finite());
    let greatest = bars.iter().map(|bar| bar.value).max_by(f64::total_cmp)?;
    let least = bars.iter().map(|bar| bar.value).min_by(f64::total_cmp)?;
    if !finite || greatest <= 0.0 {
        return None;
    }
    if least > 0.0 && greatest / least > LOGARITHMIC {
        let from = 10f64.powf(least.log10().floor());
        // Room for the last bar's figure, in decades.
        let to = greatest * (greatest / from).powf(0.12);
        draw_bars(&format!("{caption} (logarithmic)"), bars, (from..to).log_scale(), from)
    } else {
        draw_bars(caption, bars, 0.0..greatest * 1.12, 0.0)
    }
}

fn draw_bars<X>(caption: &str, bars: &[Bar], scale: X, from: f64) -> Option<String>
where
    X: AsRangedCoord<Value = f64>,
    X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let mut svg = String::new();
    let height = 60 + 24 * bars.len() as u32;
    let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
    let draw = || -> Result<(), Box<dyn std::error::Error + '_>> {
        let rows = bars.len() as i32;
        let mut chart = ChartBuilder::on(&root)
            .caption(caption, ("sans-serif", 15))
            .margin(6)
            .x_label_area_size(24)
            .y_label_area_size(110)
            .build_cartesian_2d(scale, (0..rows - 1).into_segmented())?;
        let name = |segment: &SegmentValue<i32>| match segment {
            SegmentValue::CenterOf(row) => {
                bars.get((rows - 1 - row) as usize).map_or_else(String::new, |bar| bar.name.clone())
            }
            _ => String::new(),
        };
        chart
            .configure_mesh()
            .disable_mesh()
            .x_labels(6)
            .x_label_formatter(&|value| number(*value))
            .y_labels(bars.len())
            .y_label_formatter(&name)
            .label_style(("sans-serif", 12))
            .draw()?;
        for (place, bar) in bars.iter().enumerate() {
            let row = rows - 1 - place as i32;
            let colour = if bar.name.starts_with("millpond") { OWN } else { OTHER };
            let corners = [(from, SegmentValue::Exact(row)), (bar.value, SegmentValue::Exact(row + 1))];
            let mut shape = Rectangle::new(corners, colour.filled());
            shape.set_margin(4, 4, 0, 0);
            chart.draw_series([shape])?;
            let text = format!(" {}", number(bar.value));
            let style = ("sans-serif", 12).into_font();
            let end = (bar.value, SegmentValue::CenterOf(row));
            let label = EmptyElement::at(end) + Text::new(text, (2, -6), style);
            chart.draw_series([label])?;
        }
        root.present()?;
        Ok(())
    };
    let drawn = draw().is_ok();
    drop(root);
    drawn.then_some(svg)
}

/// Lines over whole numbers from 0. `None` if there is nothing to draw.
pub(super) fn lines(caption: &str, below: &str, lines: &[Line]) -> Option<String> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let right = points().map(|point| point.0).max()?;
    let top = points().map(|point| point.1).max_by(f64::total_cmp)?;
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, (WIDTH, 380)).into_drawing_area();
    let draw = || -> Result<(), Box<dyn std::error::Error + '_>> {
        let (plot, legend) = root.split_horizontally(WIDTH as i32 - 150);
        let mut chart = ChartBuilder::on(&plot)
            .caption(caption, ("sans-serif", 15))
            .margin(6)
            .x_label_area_size(34)
            .y_label_area_size(50)
            .build_cartesian_2d(0..right, 0.0..top * 1.05)?;
        chart
            .configure_mesh()
            .disable_mesh()
            .x_desc(below)
            .y_label_formatter(&|value| number(*value))
            .label_style(("sans-serif", 12))
            .draw()?;
        for (place, line) in lines.iter().enumerate() {
            let colour = PALETTE[place % PALETTE.len()];
            let width = if line.name.starts_with("millpond") { 3 } else { 1 };
            chart.draw_series(LineSeries::new(line.points.iter().copied(), colour.stroke_width(width)))?;
            // More lines than colours: from the second round on, points tell them apart.
            let size = 2 + 2 * (place / PALETTE.len()) as i32;
            chart.draw_series(line.points.iter().map(|&point| Circle::new(point, size, colour.filled())))?;
            let y = 36 + 20 * place as i32;
            legend.draw(&Circle::new((12, y + 6), size.max(4), colour.filled()))?;
            legend.draw(&Text::new(line.name.clone(), (24, y), ("sans-serif", 12).into_font()))?;
        }
        root.present()?;
        Ok(())
    };
    let drawn = draw().is_ok();
    drop(root);
    drawn.then_some(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_carry_names_and_figures() {
        let bar = |name: &str, value| Bar::new(name.to_owned(), value);
        let svg = bars("times", &[bar("millpond", 10.0), bar("a<b", 30.0)]).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert!(svg.contains("millpond") && svg.contains("30.0") && svg.contains("a&lt;b"), "{svg}");
        assert!(!svg.contains("logarithmic"));
        let wide = bars("times", &[bar("millpond", 10.0), bar("moka", 900.0)]).unwrap();
        assert!(wide.contains("logarithmic") && wide.contains("900"), "{wide}");
    }

    #[test]
    fn nothing_draws_nothing() {
        assert!(bars("none", &[]).is_none());
        assert!(bars("zero", &[Bar::new("a".into(), 0.0)]).is_none());
        assert!(bars("not a number", &[Bar::new("a".into(), f64::NAN)]).is_none());
        assert!(lines("none", "x", &[]).is_none());
    }

    #[test]
    fn lines_have_a_legend() {
        let line = |name: &str| Line { name: name.to_owned(), points: vec![(1, 2.0), (2, 3.5), (4, 5.0)] };
        let svg = lines("scaling", "threads", &[line("millpond"), line("moka")]).unwrap();
        assert!(svg.contains("millpond") && svg.contains("moka") && svg.contains("threads"), "{svg}");
    }
}
