//! What steps see: order, crops, every kind of source, and what cannot be read.

mod loader;
mod sources;
mod tars;

use fqgan::image::Picture;
use fqgan::train::data::Pictures;
use std::path::Path;
use std::sync::Arc;

/// A picture of one colour that is told from others, and a dot that tells left from right and up from down.
fn picture(number: usize) -> Picture {
    let (width, height) = (9 + number % 5, 8 + number % 3);
    let mut picture = Picture::new(width, height).unwrap();
    let colour = [(number * 7 % 256) as u8, (number / 8 * 31 % 256) as u8, 90];
    picture.pixels_mut().as_chunks_mut::<3>().0.fill(colour);
    picture.row_mut(1)[3..6].copy_from_slice(&[255; 3]);
    picture
}

fn png(number: usize) -> Vec<u8> {
    bytes(&picture(number))
}

fn bytes(picture: &Picture) -> Vec<u8> {
    let mut bytes = Vec::new();
    picture.write_png(&mut bytes).unwrap();
    bytes
}

/// Writes files by their paths from a root.
fn write(root: &Path, files: &[(&str, &[u8])]) {
    for (path, bytes) in files {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// A folder of `n` pictures in one class.
fn some(root: &Path, n: usize) {
    (0..n).for_each(|i| write(root, &[(&format!("p{i:03}.png"), &png(i))]));
}

fn open(path: &Path) -> Arc<Pictures> {
    Arc::new(Pictures::open(path).unwrap())
}

/// Name and class of every picture.
fn listed(pictures: &Pictures) -> Vec<(String, String)> {
    let class = |i| pictures.classes()[pictures.label(i) as usize].clone();
    (0..pictures.len()).map(|i| (pictures.name(i).into_owned(), class(i))).collect()
}
