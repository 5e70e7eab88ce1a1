use super::svg;
use fqgan::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// A point of a panel and the letter that it is drawn as.
pub struct Letter {
    pub place: [f32; 2],
    pub class: usize,
}

/// Letters in the plane under a caption.
pub struct Cloud {
    pub caption: String,
    pub letters: Vec<Letter>,
}

const PANEL: u32 = 420;
/// Height of a line of the key.
const LINE: u32 = 18;

/// Dark enough each to be read on white; the letters tell what colours do, too.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 0, 0),
    RGBColor(176, 32, 32),
    RGBColor(24, 90, 170),
    RGBColor(20, 120, 60),
    RGBColor(140, 70, 0),
    RGBColor(110, 40, 140),
];

/// The letter of a class: A to Z, a to z, and again.
pub fn letter(class: usize) -> String {
    let all = ('A'..='Z').chain('a'..='z').collect::<Vec<_>>();
    all[class % all.len()].to_string()
}

/// Clouds side by side, and under them what each letter stands for.
pub fn clouds(clouds: &[Cloud], classes: &[String]) -> Result<String> {
    let columns = clouds.len().max(1) as u32;
    let in_row = (columns * 2) as usize;
    let key = classes.len().div_ceil(in_row) as u32 * LINE + 12;
    svg((PANEL * columns, PANEL + key), |page| {
        let (upper, lower) = page.split_vertically(PANEL);
        for (panel, cloud) in upper.split_evenly((1, clouds.len().max(1))).iter().zip(clouds) {
            let extent = |axis: usize| {
                let all = cloud.letters.iter().map(|l| l.place[axis]);
                let low = all.clone().fold(f32::INFINITY, f32::min);
                let high = all.fold(f32::NEG_INFINITY, f32::max);
                let room = 0.06 * (high - low).max(1e-6);
                low - room..high + room
            };
            let mut chart = ChartBuilder::on(panel)
                .margin(8)
                .caption(&cloud.caption, ("sans-serif", 15))
                .build_cartesian_2d(extent(0), extent(1))?;
            chart.configure_mesh().disable_mesh().x_labels(0).y_labels(0).draw()?;
            chart.draw_series(cloud.letters.iter().map(|l| {
                let centred = Pos::new(HPos::Center, VPos::Center);
                let style =
                    ("sans-serif", 11).into_font().color(&COLOURS[l.class % COLOURS.len()]).pos(centred);
                Text::new(letter(l.class), (l.place[0], l.place[1]), style)
            }))?;
        }
        for (class, name) in classes.iter().enumerate() {
            let (row, column) = (class / in_row, class % in_row);
            let place = (12 + column as i32 * PANEL as i32 / 2, 2 + row as i32 * LINE as i32);
            let style = ("sans-serif", 13).into_font().color(&COLOURS[class % COLOURS.len()]);
            lower.draw(&Text::new(format!("{}  {name}", letter(class)), place, style))?;
        }
        Ok(())
    })
}

/// A point with a name.
pub struct Named {
    pub name: String,
    pub place: (f64, f64),
}

/// Named points over axes; each has a mark of its own shape.
pub fn points(points: &[Named], [across, up]: [&str; 2]) -> Result<String> {
    let extent = |of: fn(&Named) -> f64| {
        let low = points.iter().map(of).fold(f64::INFINITY, f64::min);
        let high = points.iter().map(of).fold(f64::NEG_INFINITY, f64::max);
        let room = if high > low { 0.15 * (high - low) } else { 0.1 * high.abs().max(1e-3) };
        low - room..high + room
    };
    svg((640, 420), |page| {
        let mut chart = ChartBuilder::on(page)
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(extent(|p| p.place.0), extent(|p| p.place.1))?;
        chart
            .configure_mesh()
            .x_labels(6)
            .y_labels(6)
            .x_desc(across)
            .y_desc(up)
            .label_style(("sans-serif", 13))
            .light_line_style(WHITE)
            .draw()?;
        for (i, point) in points.iter().enumerate() {
            let at = std::iter::once(point.place);
            let style = BLACK.stroke_width(2);
            match i % 4 {
                0 => chart.draw_series(at.map(|p| Circle::new(p, 5, BLACK.filled())).collect::<Vec<_>>())?,
                1 => chart
                    .draw_series(at.map(|p| TriangleMarker::new(p, 6, BLACK.filled())).collect::<Vec<_>>())?,
                2 => chart.draw_series(at.map(|p| Cross::new(p, 5, style)).collect::<Vec<_>>())?,
                _ => chart.draw_series(at.map(|p| Circle::new(p, 5, style)).collect::<Vec<_>>())?,
            };
            let label = EmptyElement::at(point.place)
                + Text::new(point.name.clone(), (9, -6), ("sans-serif", 13).into_font());
            chart.draw_series(std::iter::once(label))?;
        }
        Ok(())
    })
}
