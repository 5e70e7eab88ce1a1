//! `fqgan figure`: each kind is drawn, as SVG and as a picture, and says what it should.

use crate::Place;
use crate::generator::{generator, place_with};
use fqgan::image::Picture;

fn svg(place: &Place, name: &str) -> String {
    std::fs::read_to_string(place.path(name)).unwrap()
}

/// A picture of some size on which something is drawn.
fn drawn(place: &Place, name: &str, least: (usize, usize)) {
    let picture = Picture::load(place.path(name)).unwrap();
    assert!(picture.width() >= least.0 && picture.height() >= least.1, "{picture:?}");
    let dark = picture.pixels().chunks_exact(3).filter(|p| p.iter().all(|v| *v < 96)).count();
    let white = picture.pixels().chunks_exact(3).filter(|p| **p == [255; 3]).count();
    assert!(dark > 50 && white > 50, "{name}: {dark} dark and {white} white pixels");
}

#[test]
fn parts_and_samples() {
    let place = place_with(&generator());
    place.picture("a.png", 40, 36);
    place.picture("b.png", 50, 36);
    place.run("figure parts -m model.safetensors a.png b.png -o parts.png").ended(0, &[]);
    // Original, reconstruction, two sub-codebooks, difference; two rows.
    assert_eq!(place.size("parts.png"), (5 * 32 + 6 * 8, 2 * (32 + 9) + 3 * 8));
    place.run("figure parts -m model.safetensors a.png -o parts.svg").ended(0, &[]);
    assert!(svg(&place, "parts.svg").contains("href=\"data:image/png;base64,"));
    let words = "figure samples -g far.safetensors -m model.safetensors --class 3,5 --scales 1,3 --seed 2";
    place.run(&format!("{words} -o samples.png")).ended(0, &[]);
    assert_eq!(place.size("samples.png"), (2 * 32 + 3 * 8, 2 * (32 + 9) + 3 * 8));
    place.run("figure parts -m model.safetensors a.png -o parts.gif").ended(2, &[".svg or a .png"]);
}

#[test]
fn codes_by_class() {
    let place = Place::new();
    for i in 0..6 {
        place.picture(&format!("data/cat/{i}.png"), 40 + i, 36);
        place.picture(&format!("data/dog/{i}.png"), 33, 70 - i);
        place.picture(&format!("data/owl/{i}.png"), 36 + 2 * i, 60);
    }
    std::fs::write(place.path("data/owl/9.png"), b"nothing").unwrap();
    let draw = |more: &str| place.run(&format!("figure codes -m model.safetensors data {more}"));
    let first = draw("--class cat,dog -o a.svg")
        .ended(0, &["vis: silhouette", "sem: silhouette", "12 pictures in 2"]);
    let text = svg(&place, "a.svg");
    for word in ["vis: silhouette", "A  cat", "B  dog"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(!text.contains("owl"));
    // The same picture again, whatever the threads.
    assert_eq!(draw("--class cat,dog --threads 1 -o b.svg").out, first.out);
    assert_eq!(svg(&place, "b.svg"), text);
    let ran = draw("--count 9 -o all.png");
    assert!(ran.code == Some(0) && ran.err.contains("left out: data/owl/9.png"), "{}", ran.err);
    drawn(&place, "all.png", (1000, 800));
    draw("--class cow -o c.svg").ended(2, &["--class cow", "cat, dog, owl"]);
    draw("--class cat -o c.svg").ended(1, &["of two classes or more"]);
    draw("--class cat,dog --count 2 -o c.svg").ended(1, &["4 points, expected at least 5"]);
}

#[test]
fn numbers_and_profiles() {
    let place = place_with(&generator());
    (0..3).for_each(|i| place.picture(&format!("data/{i}.png"), 40 + i, 36));
    for name in ["one", "two"] {
        place
            .run(&format!("eval reconstruction -m model.safetensors data --json {name}.json -q"))
            .ended(0, &[]);
    }
    place.run("figure rates one.json two.json -o rates.svg").ended(0, &[]);
    let text = svg(&place, "rates.svg");
    for word in ["one", "two", "bits a pixel", "PSNR, dB"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    place.run("figure rates one.json --of ssim -o rates.png").ended(0, &[]);
    drawn(&place, "rates.png", (1200, 800));
    place.run("figure usage one.json -o usage.svg").ended(0, &[]);
    assert!(svg(&place, "usage.svg").contains("one: sem, "));
    place.run("figure usage one.json two.json -o usage.png").ended(0, &[]);
    drawn(&place, "usage.png", (1500, 900));
    place.run("figure profile -m model.safetensors -g far.safetensors -o profile.svg").ended(0, &[]);
    let text = svg(&place, "profile.svg");
    for word in
        ["conv2d", "nearest code", "kv attention", "encode a picture of 32 x 32", "GFLOP/s", "generate"]
    {
        assert!(text.contains(word), "{word}: {text}");
    }
    place.run("figure profile -m model.safetensors -o profile.png").ended(0, &[]);
    drawn(&place, "profile.png", (1400, 300));

    std::fs::write(place.path("text.json"), "text").unwrap();
    std::fs::write(place.path("empty.json"), "{}").unwrap();
    place.run("figure rates text.json -o a.svg").ended(1, &["text.json: no JSON"]);
    place.run("figure rates one.json --of rfid -o a.svg").ended(2, &["bits_per_pixel and rfid"]);
    place.run("figure usage empty.json -o a.svg").ended(2, &["codebooks and histograms"]);
    place.run("figure usage nowhere.json -o a.svg").ended(1, &["nowhere.json"]);
}
