use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fqgan::image::Picture;
use fqgan::{Error, Result};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree};
use std::path::Path;
use std::sync::Arc;

/// Pixels of a picture for each of a drawing.
const SCALE: f32 = 2.0;

/// Writes a drawing as it is (`.svg`), or as a picture of twice its size (`.png`).
pub fn save(svg: &str, path: &Path) -> Result<()> {
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("png")) {
        return picture(svg)?.save_png(path);
    }
    std::fs::write(path, svg).map_err(|e| Error::io(format_args!("writing {}", path.display()), &e))
}

/// Writes a picture (`.png`), or a drawing that has it inside (`.svg`).
pub fn save_picture(picture: &Picture, path: &Path) -> Result<()> {
    if !path.extension().is_some_and(|e| e.eq_ignore_ascii_case("svg")) {
        return picture.save_png(path);
    }
    let mut png = Vec::new();
    picture.write_png(&mut png)?;
    let (width, height) = (picture.width(), picture.height());
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\">\
         <image width=\"{width}\" height=\"{height}\" href=\"data:image/png;base64,{}\"/></svg>\n",
        STANDARD.encode(png)
    );
    std::fs::write(path, svg).map_err(|e| Error::io(format_args!("writing {}", path.display()), &e))
}

/// A drawing as a picture, its words in a font that comes along, so that it is the same on every machine.
fn picture(svg: &str) -> Result<Picture> {
    let failed = |e: &dyn std::fmt::Display| Error::internal(format!("drawing a picture: {e}"));
    let mut options = Options::default();
    let fonts = Arc::make_mut(&mut options.fontdb);
    fonts.load_font_data(epaint_default_fonts::UBUNTU_LIGHT.to_vec());
    fonts.set_sans_serif_family("Ubuntu");
    let tree = Tree::from_str(svg, &options).map_err(|e| failed(&e))?;
    let size = tree.size();
    let (width, height) = ((size.width() * SCALE).ceil() as u32, (size.height() * SCALE).ceil() as u32);
    let mut pixels = Pixmap::new(width, height).ok_or_else(|| failed(&"no size"))?;
    pixels.fill(resvg::tiny_skia::Color::WHITE);
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    let rgb = pixels.data().as_chunks::<4>().0.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect();
    Picture::from_pixels(width as usize, height as usize, rgb)
}
