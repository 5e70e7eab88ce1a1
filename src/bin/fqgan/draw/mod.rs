//! Drawings in SVG, and as pictures. They are told apart by panels, marks and words, so that they can be read in black and
//! white.

mod bars;
mod panels;
mod raster;
mod scatter;

pub use bars::{Bar, Bars, bars};
pub use panels::{Curve, panels};
pub use raster::{save, save_picture};
pub use scatter::{Cloud, Letter, Named, clouds, points};

use fqgan::{Error, Result};
use plotters::coord::Shift;
use plotters::prelude::*;

pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub type Drawn<'a> =
    std::result::Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

/// What `draw` puts on white paper of that size, in pixels.
pub fn svg(size: (u32, u32), draw: impl for<'a> FnOnce(&Area<'a>) -> Drawn<'a>) -> Result<String> {
    let mut text = String::new();
    {
        let page = SVGBackend::with_string(&mut text, size).into_drawing_area();
        page.fill(&WHITE)
            .and_then(|()| draw(&page))
            .and_then(|()| page.present())
            .map_err(|e| Error::internal(format!("drawing: {e}")))?;
    }
    Ok(text)
}
