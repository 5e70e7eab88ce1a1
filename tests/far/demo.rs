//! The generator that is shipped, on the pictures that are shipped with it.

use fqgan::backend::Device;
use fqgan::backend::cpu::Cpu;
use fqgan::far::{Generator, Options, Sampling};
use fqgan::image::Picture;
use fqgan::tokenizer::{self, Tokenizer};
use fqgan::weights::{Map, Source};
use std::path::Path;
use std::sync::Arc;

/// The emoji of each class: their names in `assets/emoji` without the vendor.
const CLASSES: [&str; 9] =
    ["1f9e7", "1f989", "1f1eb-1f1f7", "1f367", "1f452", "1f46e-1f3fd", "1f61a", "26a0-fe0f", "1f6f8"];

/// Bits of held-out pictures: what the model card says, and fewer under a picture's class than without one.
#[test]
fn the_demo_expects_held_out_pictures() {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
    let file = |name: &str| assets.join("weights").join(name);
    assert!(std::fs::metadata(file("demo-far.safetensors")).unwrap().len() < 25_000_000);
    let device = Device::Cpu(Arc::new(Cpu::new(2).unwrap()));
    let open = |name: &str| Source::open(file(name), Map::On).unwrap();
    let tokenizer = open("demo-tokenizer.safetensors");
    let tokenizer = Tokenizer::open(&device, &tokenizer, &tokenizer::Options::default()).unwrap();
    let generator = Generator::open(&device, &open("demo-far.safetensors"), &Options::default()).unwrap();
    assert_eq!(generator.config().classes, CLASSES.len());

    let (mut classes, mut codes) = (Vec::new(), Vec::new());
    for (class, name) in CLASSES.iter().enumerate() {
        for vendor in ["noto", "twemoji"] {
            let picture = Picture::load(assets.join(format!("emoji/{vendor}-{name}.png"))).unwrap();
            let mut found = vec![0; 2 * 64];
            tokenizer.encode_into(&[picture.view()], &mut found).unwrap();
            codes.extend(found);
            classes.push(class as u32);
        }
    }
    let bits = |classes: &[u32]| {
        let mut nats = vec![0.0; codes.len()];
        generator.surprise_into(classes, &codes, &mut nats).unwrap();
        nats.iter().map(|&x| f64::from(x)).sum::<f64>() / std::f64::consts::LN_2 / classes.len() as f64
    };
    let (own, none) = (bits(&classes), bits(&[CLASSES.len() as u32; 18]));
    println!("{own:.1} bits a picture, {none:.1} without its class");
    assert!(own < none);
    let card = std::fs::read_to_string(file("demo-far.md")).unwrap();
    let (_, rest) = card.split_once("| bits of a picture of `assets/emoji` | ").unwrap();
    let said: f64 = rest.split_once(' ').unwrap().0.parse().unwrap();
    assert!((own - said).abs() < 0.5, "{own}, not {said}");

    // What it makes of a class it takes to be of that class, mostly.
    let wanted: Vec<u32> = (0..18).map(|i| i % 9).collect();
    let made = generator.generate(&wanted, &Sampling { top_p: 0.9, ..Sampling::default() }).unwrap();
    let each = |class: u32| -> Vec<f64> {
        let mut nats = vec![0.0; made.data().len()];
        generator.surprise_into(&[class; 18], made.data(), &mut nats).unwrap();
        nats.chunks_exact(128).map(|of| of.iter().map(|&x| f64::from(x)).sum()).collect()
    };
    let all: Vec<Vec<f64>> = (0..9).map(each).collect();
    let taken = |i: usize| (0..9).min_by(|&a, &b| all[a][i].total_cmp(&all[b][i])).unwrap();
    let right = (0..18).filter(|&i| taken(i) == wanted[i] as usize).count();
    println!("{right} of 18 are of their class");
    assert!(right >= 12);
}
