//! The course of every scalar as one picture.

use fqgan::train::Scalar;
use fqgan::{Error, Result};
use plotters::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

/// The most points that a curve keeps: of a longer run, each is the mean of several steps.
const POINTS: usize = 512;
/// Curves side by side, and the size of each in pixels.
const COLUMNS: usize = 4;
const PANEL: [usize; 2] = [320, 200];

#[derive(Default)]
pub struct Curves {
    series: BTreeMap<String, Series>,
}

/// Means of `each` values, and the sums of what is left.
struct Series {
    each: u32,
    points: Vec<(f64, f64)>,
    rest: (u32, f64, f64),
}

impl Series {
    fn add(&mut self, step: u64, value: f64) {
        let (count, steps, values) = &mut self.rest;
        *count += 1;
        *steps += step as f64;
        *values += value;
        if *count < self.each {
            return;
        }
        let n = f64::from(*count);
        self.points.push((*steps / n, *values / n));
        self.rest = (0, 0.0, 0.0);
        if self.points.len() == POINTS {
            let mean =
                |pair: &[(f64, f64); 2]| ((pair[0].0 + pair[1].0) / 2.0, (pair[0].1 + pair[1].1) / 2.0);
            self.points = self.points.as_chunks::<2>().0.iter().map(mean).collect();
            self.each *= 2;
        }
    }
}

impl Curves {
    pub fn add(&mut self, step: u64, scalars: &[Scalar]) {
        for scalar in scalars.iter().filter(|s| s.value.is_finite()) {
            let empty = || Series { each: 1, points: Vec::new(), rest: (0, 0.0, 0.0) };
            self.series.entry(scalar.name.clone()).or_insert_with(empty).add(step, scalar.value);
        }
    }

    /// Writes an SVG picture of all curves; nothing when there are none.
    pub fn draw(&self, path: &Path) -> Result<()> {
        let all: Vec<_> = self.series.iter().filter(|(_, series)| series.points.len() > 1).collect();
        if all.is_empty() {
            return Ok(());
        }
        let rows = all.len().div_ceil(COLUMNS);
        let size = ((PANEL[0] * COLUMNS) as u32, (PANEL[1] * rows) as u32);
        let mut text = String::new();
        {
            let page = SVGBackend::with_string(&mut text, size).into_drawing_area();
            page.fill(&WHITE)
                .and_then(|()| {
                    let panels = page.split_evenly((rows, COLUMNS));
                    panels
                        .iter()
                        .zip(&all)
                        .try_for_each(|(panel, (name, series))| curve(panel, name, &series.points))
                })
                .and_then(|()| page.present())
                .map_err(|e| Error::internal(format!("drawing {}: {e}", path.display())))?;
        }
        std::fs::write(path, text).map_err(|e| Error::io(format_args!("writing {}", path.display()), &e))
    }
}

type Panel<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Failure<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

fn curve<'a>(panel: &Panel<'a>, name: &str, points: &[(f64, f64)]) -> std::result::Result<(), Failure<'a>> {
    let ends = |of: fn(&(f64, f64)) -> f64| {
        let low = points.iter().map(of).fold(f64::INFINITY, f64::min);
        let high = points.iter().map(of).fold(f64::NEG_INFINITY, f64::max);
        // A constant has a panel too.
        let room = if high > low { 0.0 } else { 0.5 * low.abs().max(1.0) };
        low - room..high + room
    };
    let mut chart = ChartBuilder::on(panel)
        .margin(6)
        .caption(name, ("sans-serif", 13))
        .x_label_area_size(18)
        .y_label_area_size(48)
        .build_cartesian_2d(ends(|p| p.0), ends(|p| p.1))?;
    chart.configure_mesh().x_labels(4).y_labels(5).light_line_style(WHITE).draw()?;
    chart.draw_series(LineSeries::new(points.iter().copied(), &BLUE))?;
    Ok(())
}
