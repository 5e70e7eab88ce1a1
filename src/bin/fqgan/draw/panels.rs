use super::svg;
use fqgan::Result;
use plotters::prelude::*;

/// Points of a panel.
pub struct Curve {
    name: String,
    points: Vec<(f64, f64)>,
}

/// Points that are enough for a panel's width.
const POINTS: usize = 1000;
const PANEL: (u32, u32) = (380, 240);

impl Curve {
    /// Counts, the largest first.
    pub fn of_counts(name: String, counts: &[u64]) -> Curve {
        let mut sorted = counts.to_vec();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        let step = sorted.len().div_ceil(POINTS).max(1);
        let points = sorted.iter().enumerate().step_by(step).map(|(i, &n)| (i as f64, n as f64)).collect();
        Curve { name, points }
    }
}

/// A panel for each curve, so many in a row, all with the same axes: across and up.
pub fn panels(curves: &[Curve], columns: usize, [across, up]: [&str; 2]) -> Result<String> {
    let end = |of: fn(&(f64, f64)) -> f64| {
        curves.iter().flat_map(|c| &c.points).map(of).fold(0.0, f64::max).max(1.0)
    };
    let (right, top) = (end(|p| p.0), end(|p| p.1) * 1.05);
    let (columns, rows) = (columns.max(1), curves.len().div_ceil(columns.max(1)).max(1));
    svg((PANEL.0 * columns as u32, PANEL.1 * rows as u32), |page| {
        for (panel, curve) in page.split_evenly((rows, columns)).iter().zip(curves) {
            let mut chart = ChartBuilder::on(panel)
                .margin(8)
                .caption(&curve.name, ("sans-serif", 15))
                .x_label_area_size(36)
                .y_label_area_size(56)
                .build_cartesian_2d(0.0..right, 0.0..top)?;
            chart
                .configure_mesh()
                .x_labels(5)
                .y_labels(5)
                .x_desc(across)
                .y_desc(up)
                .label_style(("sans-serif", 12))
                .light_line_style(WHITE)
                .draw()?;
            let area = AreaSeries::new(curve.points.iter().copied(), 0.0, BLACK.mix(0.15));
            chart.draw_series(area.border_style(BLACK))?;
        }
        Ok(())
    })
}
