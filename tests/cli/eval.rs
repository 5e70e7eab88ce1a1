//! `fqgan eval`.

use crate::Place;
use fqgan::eval::ssim;
use fqgan::image::{Picture, psnr};
use serde_json::Value;

/// The figures are those of the pictures that `reconstruct` writes and of the codes that `encode` does.
#[test]
fn reconstruction() {
    let place = Place::new();
    let names = ["a", "b", "c"];
    names.iter().enumerate().for_each(|(i, name)| place.picture(&format!("data/{name}.png"), 32 + i, 40));
    std::fs::write(place.path("data/d.png"), b"nothing").unwrap();
    let ran = place.run("eval reconstruction -m model.safetensors data --json out.json");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("left out: data/d.png"), "{}", ran.err);
    for word in ["PSNR", "SSIM, data range 2", "codes of sem", "perplexity", "bits a pixel"] {
        assert!(ran.out.contains(word), "{word}: {}", ran.out);
    }
    assert!(!ran.out.contains("rFID") && !ran.out.contains("LPIPS"), "{}", ran.out);

    let json: Value =
        serde_json::from_str(&std::fs::read_to_string(place.path("out.json")).unwrap()).unwrap();
    let mut sums = [0.0; 4];
    let mut histograms = vec![vec![0u64; 200]; 2];
    for name in names {
        place.run(&format!("reconstruct -m model.safetensors data/{name}.png -o back.png")).ended(0, &[]);
        place.run(&format!("encode -m model.safetensors data/{name}.png -o one.fqc")).ended(0, &[]);
        let original =
            Picture::load(place.path(&format!("data/{name}.png"))).unwrap().center_crop(32).unwrap();
        let back = Picture::load(place.path("back.png")).unwrap();
        let apart = |(a, b): (&u8, &u8)| f64::from(a.abs_diff(*b)) / 255.0;
        let l1 = original.pixels().iter().zip(back.pixels()).map(apart).sum::<f64>() / 3072.0;
        let each = [
            psnr(&original, &back),
            ssim(&original, &back, 1.0).unwrap(),
            ssim(&original, &back, 2.0).unwrap(),
            l1,
        ];
        sums.iter_mut().zip(each).for_each(|(sum, value)| *sum += value / 3.0);
        for (i, &code) in place.codes("one.fqc").data().iter().enumerate() {
            histograms[i / 64][code as usize] += 1;
        }
    }
    for (key, wanted) in ["psnr", "ssim", "ssim_range_2", "l1"].into_iter().zip(sums) {
        let found = json[key].as_f64().unwrap();
        assert!((found / wanted - 1.0).abs() < 1e-12, "{key}: {found}, expected {wanted}");
    }
    assert_eq!((json["pictures"].as_u64(), json["left_out"].as_u64()), (Some(3), Some(1)));
    assert_eq!(json["histograms"], serde_json::json!(histograms));
    assert!(json["rfid"].is_null() && json["lpips"].is_null());
    // 2 x 8 x 8 codes of 200 in 32 x 32 pixels.
    assert!((json["bits_per_pixel"].as_f64().unwrap() - 128.0 * 200f64.log2() / 1024.0).abs() < 1e-12);
    for (book, counts) in histograms.iter().enumerate() {
        let used = counts.iter().filter(|&&c| c > 0);
        assert_eq!(json["usage"][book].as_f64().unwrap(), used.clone().count() as f64 / 200.0);
        let entropy: f64 = used.map(|&c| c as f64 / 192.0).map(|p| -p * p.ln()).sum();
        assert!((json["perplexity"][book].as_f64().unwrap() / entropy.exp() - 1.0).abs() < 1e-12);
    }
}

#[test]
fn mistakes_are_explained() {
    let place = Place::new();
    place.picture("data/a.png", 32, 32);
    std::fs::create_dir(place.path("bad")).unwrap();
    std::fs::write(place.path("bad/a.png"), b"nothing").unwrap();
    let run = |more: &str| place.run(&format!("eval reconstruction -m model.safetensors {more}"));
    run("nowhere").ended(1, &["nowhere"]);
    run("data --size 30").ended(1, &["positive multiples of 4"]);
    run("data --size 4").ended(1, &["at least 7"]);
    run("bad").ended(1, &["not one of 1 pictures can be read"]);
    run("data --inception model.safetensors").ended(1, &["Conv2d_1a_3x3"]);
    run("data --lpips-heads model.safetensors").ended(2, &["--lpips"]);
    place.run("eval").ended(2, &["reconstruction"]);
}
