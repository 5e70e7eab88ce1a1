//! Times the loader by itself: `cargo bench --bench data -- DIR [--side N] [--crop random|centre] [--batch N]
//! [--workers N] [--seconds S]`. Prints pictures a second, and how many could not be read. The first batches, which
//! wait for the threads, do not count.

use fqgan::train::data::{Augment, Crop, Loader, Pictures};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn main() {
    let (mut path, mut augment) = (None, Augment { side: 64, ..Augment::default() });
    let (mut batch, mut workers, mut seconds) = (16, 1, 5.0);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("{word} wants a value"));
        match word.as_str() {
            "--side" => augment.side = value().parse().expect("a side in pixels"),
            "--crop" => {
                augment.crop = match value().as_str() {
                    "random" => Crop::Random,
                    "centre" => Crop::Centre,
                    other => panic!("--crop {other}: expected random or centre"),
                }
            }
            "--batch" => batch = value().parse().expect("a batch size"),
            "--workers" => workers = value().parse().expect("a number of threads"),
            "--seconds" => seconds = value().parse().expect("seconds"),
            "--bench" => {}
            other if !other.starts_with("--") => path = Some(other.to_string()),
            other => panic!("unknown argument {other}"),
        }
    }
    let path = path.expect("the pictures: a folder or a tar");
    let began = Instant::now();
    let pictures = Arc::new(Pictures::open(&path).unwrap_or_else(|e| panic!("{e}")));
    println!(
        "{} pictures, {} classes, opened in {:.0} ms",
        pictures.len(),
        pictures.classes().len(),
        1e3 * began.elapsed().as_secs_f64()
    );
    let mut loader = Loader::new(pictures, &augment, batch, 1, 0, workers).unwrap_or_else(|e| panic!("{e}"));
    let mut next = || drop(loader.next().unwrap_or_else(|e| panic!("{e}")));
    (0..8).for_each(|_| next());
    let (began, mut batches) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs_f64(seconds) {
        next();
        batches += 1;
    }
    let rate = (batches * batch) as f64 / began.elapsed().as_secs_f64();
    println!(
        "{rate:.0} pictures/s of {} pixels on {workers} threads, {:?} crops, batch {batch}",
        augment.side, augment.crop
    );
    println!("{} could not be read", loader.unreadable().len());
}
