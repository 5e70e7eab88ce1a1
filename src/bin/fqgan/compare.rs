//! What a reconstruction kept and lost, side by side.

use crate::codec::Codec;
use fqgan::codes::Codes;
use fqgan::image::{Cell, Picture, grid, psnr};

/// How much brighter the difference is drawn.
const GAIN: u8 = 4;
/// Pixels between the pictures of a comparison.
const MARGIN: usize = 8;

/// The pictures of a comparison, with their captions.
pub struct Row(Vec<(Picture, String)>);

impl Row {
    /// Original, reconstruction, each sub-codebook alone (where there are several), difference.
    pub fn new(codec: &Codec, original: Picture, codes: &Codes, back: Picture) -> fqgan::Result<Row> {
        let caption = format!("rebuilt {:.1} dB", psnr(&original, &back));
        let difference = difference(&original, &back)?;
        let mut row = vec![(original, "original".to_owned()), (back, caption)];
        let names = codec.codebooks();
        if names.len() > 1 {
            for (bit, name) in names.iter().enumerate() {
                row.push((codec.decode(&codes.info(), codes.data(), 1 << bit)?, format!("{name} alone")));
            }
        }
        row.push((difference, format!("difference x{GAIN}")));
        Ok(Row(row))
    }

    /// The rows below each other.
    pub fn page(rows: &[Row]) -> fqgan::Result<Picture> {
        let mut page = Vec::new();
        for Row(cells) in rows {
            page.push(cells.iter().map(|(picture, caption)| Cell { picture, caption }).collect());
        }
        grid(&page, MARGIN)
    }
}

fn difference(a: &Picture, b: &Picture) -> fqgan::Result<Picture> {
    let gap = |(a, b): (&u8, &u8)| a.abs_diff(*b).saturating_mul(GAIN);
    Picture::from_pixels(a.width(), a.height(), a.pixels().iter().zip(b.pixels()).map(gap).collect())
}
