//! New pictures, the rest of given ones, and their bits.

use crate::{Place, save};
use fqgan::codes::{Codes, Info};
use fqgan::far;

/// A folder with the small tokenizer and a generator, `far.safetensors`.
pub fn place_with(config: &far::Config) -> Place {
    let place = Place::new();
    save(&place.path("far.safetensors"), &config.manifest(), &config.metadata());
    place
}

/// A small generator of the small tokenizer's codes.
pub fn generator() -> far::Config {
    far::Config {
        codebooks: 2,
        codebook_size: 200,
        classes: 10,
        grid_width: 8,
        grid_height: 8,
        layers: 2,
        dim: 64,
        heads: 1,
        hidden: 256,
        head: far::config::Head::AutoRegressive { layers: 1 },
    }
}

#[test]
fn generating() {
    let place = place_with(&generator());
    let generate = |more: &str| place.run(&format!("generate -g far.safetensors {more}"));
    generate("--class 3,5 --count 3 --seed 7 -o codes.fqc")
        .ended(0, &["6 pictures", "768 codes", "a second"]);
    let codes = place.codes("codes.fqc");
    assert_eq!(codes.info(), Info { count: 6, k: 2, height: 8, width: 8, codebook_size: 200 });
    let images: Vec<_> = codes.images().collect();
    assert!((1..6).all(|i| images[i] != images[0]), "each picture has its own random numbers");

    // The same pictures alone, on one thread, and as pictures.
    generate("-m model.safetensors --class 3 --count 2 --seed 7 --threads 1 --codes two.fqc -o page.png")
        .ended(0, &[]);
    assert_eq!(place.codes("two.fqc").data(), codes.data()[..256].to_vec());
    assert_eq!(place.size("page.png"), (2 * 32 + 3 * 4, 32 + 2 * 4));
    generate("-m model.safetensors --class 3,5 --seed 7 -o pictures").ended(0, &["2 pictures"]);
    assert_eq!(place.size("pictures/5_0000.png"), (32, 32));
    generate("--class 3 --seed 8 -o other.fqc").ended(0, &[]);
    assert_ne!(place.codes("other.fqc").data(), images[0]);
    generate("--class 3 --seed 8 --top-k 1 --guidance 1 -o greedy8.fqc").ended(0, &[]);
    generate("--class 3 --seed 9 --top-k 1 --guidance 1 -o greedy9.fqc").ended(0, &[]);
    assert_eq!(place.codes("greedy8.fqc"), place.codes("greedy9.fqc"));

    generate("--class 10 -o a.fqc").ended(1, &["class 10", "0 to 9"]);
    generate("--class 3 --count 0 -o a.fqc").ended(2, &["--count 0"]);
    generate("--class 3 --temperature 0 -o a.fqc").ended(1, &["temperature"]);
    generate("--class 3 -o a.png").ended(2, &["--model"]);
    generate("--class dog -o a.fqc").ended(2, &["dog"]);
    assert!(!place.path("a.fqc").exists());
}

#[test]
fn finishing_a_picture() {
    let place = place_with(&generator());
    place.picture("a.png", 40, 32);
    place.run("encode -m model.safetensors a.png -o a.fqc").ended(0, &[]);
    let generate = |more: &str| place.run(&format!("generate -g far.safetensors --class 3 {more}"));
    generate("--count 2 --resume-rows 5 a.fqc -o b.fqc").ended(0, &["96 codes"]);
    let (a, b) = (place.codes("a.fqc"), place.codes("b.fqc"));
    for image in b.images() {
        for (book, original) in image.chunks_exact(64).zip(a.data().chunks_exact(64)) {
            assert_eq!(book[..40], original[..40]);
            assert_ne!(book[40..], original[40..]);
        }
    }
    generate("-m model.safetensors --resume-rows 5 a.png -o c.fqc").ended(0, &[]);
    assert_eq!(place.codes("c.fqc").data(), &b.data()[..128]);
    generate("--resume-rows 9 a.fqc -o d.fqc").ended(2, &["--resume-rows", "1 to 8"]);
    generate("--resume-rows x a.fqc -o d.fqc").ended(2, &["--resume-rows"]);
    generate("--resume-rows 2 a.png -o d.fqc").ended(1, &["a.png", "--model"]);
    place.run("encode -m model.safetensors a.png -o large.fqc --size 64").ended(0, &[]);
    generate("--resume-rows 2 large.fqc -o d.fqc").ended(1, &["large.fqc", "2 x 16 x 16", "2 x 8 x 8"]);
}

#[test]
fn scoring() {
    let place = place_with(&generator());
    place.run("generate -g far.safetensors --class 3 --top-k 1 --guidance 1 -o likely.fqc").ended(0, &[]);
    let other = Info { count: 1, k: 2, height: 8, width: 8, codebook_size: 200 };
    Codes::new(other, (0..128).map(|i| i * 77 % 200).collect())
        .unwrap()
        .save(place.path("other.fqc"))
        .unwrap();
    let bits = |words: &str| -> f64 {
        let out = place.run(&format!("score -g far.safetensors {words}")).ended(0, &["bits", "a code"]).out;
        out.split(": ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
    };
    let (likely, unlikely) = (bits("--class 3 likely.fqc"), bits("--class 3 other.fqc"));
    assert!(likely < unlikely, "{likely} {unlikely}");
    assert!(bits("likely.fqc") > 0.0);
    place.picture("a.png", 40, 32);
    place
        .run("score -g far.safetensors -m model.safetensors a.png likely.fqc --class 3")
        .ended(0, &["a.png", "likely.fqc", "vis", "sem", "mean of 2 images"]);
    assert_eq!(bits("--class 3 --check-cache likely.fqc"), likely);
    for precision in ["bf16", "int8"] {
        let rounded = bits(&format!("--class 3 --check-cache --precision {precision} likely.fqc"));
        assert!((rounded / likely - 1.0).abs() < 0.05, "{precision}: {rounded}, {likely}");
    }
    place.run("score -g far.safetensors a.png").ended(1, &["a.png", "--model"]);
    place.run("score -g far.safetensors likely.fqc --class 11").ended(1, &["class 11"]);
    place.run("score -g model.safetensors likely.fqc").ended(1, &["model.safetensors"]);
}

#[test]
fn rounded_weights() {
    let place = place_with(&generator());
    let size = |name| std::fs::metadata(place.path(name)).unwrap().len();
    let converted =
        place.run("convert far.safetensors int8.safetensors --dtype int8").ended(0, &["tensors\n"]);
    assert!(!converted.out.contains("left out"), "{}", converted.out);
    place.run("inspect int8.safetensors").ended(0, &["i8", "Complete", "8 rows x 8"]);
    assert!(size("int8.safetensors") < size("far.safetensors") * 45 / 100);
    let generate = |more: &str| place.run(&format!("generate --class 3 --count 2 {more}"));
    generate("-g far.safetensors --precision int8 -o a.fqc").ended(0, &[]);
    generate("-g int8.safetensors --precision int8 -o b.fqc").ended(0, &[]);
    assert_eq!(place.codes("a.fqc"), place.codes("b.fqc"));
    generate("-g far.safetensors -o exact.fqc").ended(0, &[]);
    assert_ne!(place.codes("a.fqc"), place.codes("exact.fqc"));
    place
        .run("convert model.safetensors c.safetensors --dtype int8")
        .ended(2, &["model.safetensors", "generator"]);
    assert!(!place.path("c.safetensors").exists());
}

/// A file that does not say its grid, as the authors' do not, and is not of the published one.
#[test]
fn a_grid_that_the_file_does_not_say() {
    let place = place_with(&generator());
    save(&place.path("bare.safetensors"), &generator().manifest(), &Default::default());
    let generate = |more: &str| place.run(&format!("generate --class 3 {more}"));
    generate("-g far.safetensors -o a.fqc").ended(0, &[]);
    generate("-g bare.safetensors -o b.fqc").ended(0, &["512 codes"]);
    generate("-g bare.safetensors --grid 8x8 -o b.fqc").ended(0, &["128 codes"]);
    assert_eq!(place.codes("a.fqc"), place.codes("b.fqc"));
    place.run("convert bare.safetensors said.safetensors --grid 4x16").ended(0, &[]);
    place.run("inspect said.safetensors --summary").ended(0, &["4 rows x 16 columns"]);
    generate("-g said.safetensors -o c.fqc").ended(0, &["128 codes"]);
    assert_eq!((place.codes("c.fqc").info().height, place.codes("c.fqc").info().width), (4, 16));
    for wrong in ["8", "0x8", "8x", "8x8x8", "8*8"] {
        generate(&format!("-g bare.safetensors --grid {wrong} -o d.fqc")).ended(2, &["--grid"]);
    }
    generate("-g bare.safetensors --grid 5000x8 -o d.fqc").ended(1, &["fqgan.grid_height", "5000"]);
    place
        .run("convert model.safetensors d.safetensors --grid 8x8")
        .ended(2, &["model.safetensors", "generator"]);
}

#[test]
fn models_that_do_not_belong_together() {
    let place = place_with(&far::Config { codebook_size: 300, ..generator() });
    place
        .run("generate -g far.safetensors -m model.safetensors --class 3 -o a.png")
        .ended(1, &["2 sub-codebooks of 300", "2 of 200"]);
    place
        .run("inspect far.safetensors --summary")
        .ended(0, &["generator", "2 of 300", "8 rows x 8", "Complete"]);
}
