use super::Picture;
use super::font;
use crate::error::{Error, Result};

/// A picture of a grid, and the words over it (none: empty).
#[derive(Clone, Copy, Debug)]
pub struct Cell<'a> {
    /// The picture.
    pub picture: &'a Picture,
    /// The words, drawn in capitals and cut at the picture's width.
    pub caption: &'a str,
}

const PAPER: [u8; 3] = [255; 3];
const INK: [u8; 3] = [32; 3];

/// Pictures side by side in rows, on white, `margin` pixels apart and around. Columns are as wide as their
/// widest picture, rows as high as their highest; smaller ones stand at the upper left. Rows may differ in
/// length.
///
/// # Errors
/// `InvalidArgument` without any picture or when the whole is too large to address, `OutOfMemory`.
pub fn grid(rows: &[Vec<Cell<'_>>], margin: usize) -> Result<Picture> {
    let cells = || rows.iter().flatten();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let Some(narrowest) = cells().map(|c| c.picture.width()).min() else {
        return Err(Error::invalid("a grid needs at least one picture"));
    };
    // Letters of one size everywhere, so that some twenty fit over a picture.
    let scale = (narrowest / 128).max(1);
    let widest =
        |column: usize| rows.iter().filter_map(move |r| r.get(column)).map(|c| c.picture.width()).max();
    let highest = |row: &Vec<Cell<'_>>| row.iter().map(|c| c.picture.height()).max().unwrap_or(0);
    let over = |row: &Vec<Cell<'_>>| {
        if row.iter().any(|c| !c.caption.is_empty()) { (font::HEIGHT + 2) * scale } else { 0 }
    };
    let huge = || Error::invalid("the grid is too large to address");
    let add = |a: usize, b: usize| a.checked_add(b).ok_or_else(huge);

    let mut lefts = Vec::with_capacity(columns);
    let mut width = margin;
    for column in 0..columns {
        lefts.push(width);
        width = add(add(width, widest(column).unwrap_or(0))?, margin)?;
    }
    let mut tops = Vec::with_capacity(rows.len());
    let mut height = margin;
    for row in rows {
        height = add(height, over(row))?;
        tops.push(height);
        height = add(add(height, highest(row))?, margin)?;
    }

    let mut page = Picture::new(width, height)?;
    page.pixels_mut().as_chunks_mut::<3>().0.fill(PAPER);
    for (row, top) in rows.iter().zip(tops) {
        for (cell, &left) in row.iter().zip(&lefts) {
            let wide = cell.picture.width() * 3;
            for y in 0..cell.picture.height() {
                page.row_mut(top + y)[left * 3..][..wide].copy_from_slice(cell.picture.row(y));
            }
            write(&mut page, cell.caption, left, top - over(row), cell.picture.width(), scale);
        }
    }
    Ok(page)
}

/// Draws the letters of a line that fit in `width`.
fn write(page: &mut Picture, line: &str, left: usize, top: usize, width: usize, scale: usize) {
    let step = (font::WIDTH + 1) * scale;
    for (i, letter) in line.chars().enumerate().take_while(|(i, _)| (i + 1) * step <= width + scale) {
        for (y, bits) in font::rows(letter).into_iter().enumerate() {
            for x in (0..font::WIDTH).filter(|x| bits >> (font::WIDTH - 1 - x) & 1 == 1) {
                for line in 0..scale {
                    let row = page.row_mut(top + y * scale + line);
                    row[(left + i * step + x * scale) * 3..][..scale * 3].as_chunks_mut::<3>().0.fill(INK);
                }
            }
        }
    }
}
