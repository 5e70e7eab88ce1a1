//! The tokenizer that is shipped, on the pictures that are shipped with it.

use fqgan::backend::Device;
use fqgan::backend::cpu::Cpu;
use fqgan::image::{Picture, psnr};
use fqgan::tokenizer::{Options, Tokenizer};
use fqgan::weights::{Map, Source};
use std::path::Path;
use std::sync::Arc;

/// Mean PSNR of the held-out pictures of `assets/emoji`: above the bar, and what the model card says.
#[test]
fn the_demo_gives_held_out_pictures_back() {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
    let weights = assets.join("weights/demo-tokenizer.safetensors");
    assert!(std::fs::metadata(&weights).unwrap().len() < 25_000_000);
    let device = Device::Cpu(Arc::new(Cpu::new(2).unwrap()));
    let source = Source::open(weights, Map::On).unwrap();
    let tokenizer = Tokenizer::open(&device, &source, &Options::default()).unwrap();
    let grid = tokenizer.grid(64, 64).unwrap();
    let k = tokenizer.config().branches.len();
    let (mut sum, mut count) = (0.0, 0);
    for entry in std::fs::read_dir(assets.join("emoji")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "png") {
            continue;
        }
        let picture = Picture::load(&path).unwrap();
        let mut codes = vec![0; k * grid.height * grid.width];
        tokenizer.encode_into(&[picture.view()], &mut codes).unwrap();
        let mut back = Picture::new(64, 64).unwrap();
        tokenizer.decode_into(&codes, grid, 0, &mut [back.view_mut()]).unwrap();
        sum += psnr(&picture, &back);
        count += 1;
    }
    let mean = sum / f64::from(count);
    println!("{count} pictures: {mean:.2} dB");
    assert_eq!(count, 18);
    assert!(mean >= 22.0);
    let card = std::fs::read_to_string(assets.join("weights/README.md")).unwrap();
    let (_, rest) = card.split_once("| PSNR of the 18 pictures in `assets/emoji` | ").unwrap();
    let said: f64 = rest.split_once(" dB").unwrap().0.parse().unwrap();
    assert!((mean - said).abs() < 0.02, "{mean} {said}");
}
