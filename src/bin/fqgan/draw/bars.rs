use super::svg;
use fqgan::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// A bar and the words behind it.
pub struct Bar {
    pub name: String,
    pub value: f64,
    pub words: String,
}

/// Bars under a caption.
pub struct Bars {
    pub caption: String,
    pub bars: Vec<Bar>,
}

const WIDTH: i32 = 720;
/// Height of a bar and the room between two.
const LINE: i32 = 22;
const CAPTION: i32 = 34;
/// Where bars begin, and the most pixels of one.
const LEFT: i32 = 170;
const LONGEST: i32 = 320;

/// Sets of bars below each other, each with its own scale.
pub fn bars(sets: &[Bars]) -> Result<String> {
    let height: i32 = sets.iter().map(|set| CAPTION + LINE * set.bars.len() as i32 + 12).sum();
    svg((WIDTH as u32, height.max(1) as u32), |page| {
        let mut top = 0;
        for set in sets {
            page.draw(&Text::new(set.caption.clone(), (12, top + 10), ("sans-serif", 16).into_font()))?;
            top += CAPTION;
            let most = set.bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
            for bar in &set.bars {
                let middle = top + LINE / 2;
                let name =
                    ("sans-serif", 13).into_font().color(&BLACK).pos(Pos::new(HPos::Right, VPos::Center));
                page.draw(&Text::new(bar.name.clone(), (LEFT - 8, middle), name))?;
                let right = LEFT + (bar.value / most * f64::from(LONGEST)).round() as i32;
                let corners = [(LEFT, top + 3), (right.max(LEFT + 1), top + LINE - 3)];
                page.draw(&Rectangle::new(corners, BLACK.mix(0.35).filled()))?;
                page.draw(&Rectangle::new(corners, BLACK))?;
                let words =
                    ("sans-serif", 12).into_font().color(&BLACK).pos(Pos::new(HPos::Left, VPos::Center));
                page.draw(&Text::new(bar.words.clone(), (right + 8, middle), words))?;
                top += LINE;
            }
            top += 12;
        }
        Ok(())
    })
}
