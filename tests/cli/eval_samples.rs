//! `fqgan eval samples` and the pages of both evaluations.

use crate::{Place, Ran};
use fqgan::backend::Device;
use fqgan::backend::cpu::Cpu;
use fqgan::eval::{Crowd, Wanted, frechet, precision_recall};
use fqgan::exec::Eager;
use fqgan::image::Picture;
use fqgan::teachers::Inception;
use fqgan::weights::{Map, Source};
use npyz::WriterBuilder;
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

#[path = "../common/mod.rs"]
mod common;

/// A file of Inception's weights, by the formula.
pub fn inception() -> PathBuf {
    common::formula_file("fid_inception_v3")
}

/// Made pictures of two sizes and real ones.
fn pictures(place: &Place) {
    for i in 0..6 {
        place.picture(&format!("made/{i}.png"), 30 + 9 * (i / 4), 24 + i);
    }
    (0..5).for_each(|i| place.picture(&format!("real/{i}.png"), 50 - i, 31));
}

fn samples(place: &Place, words: &str) -> Ran {
    place.run(&format!("eval samples --inception {} {words}", inception().display()))
}

fn json(place: &Place, name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(place.path(name)).unwrap()).unwrap()
}

/// What the network makes of pictures, one by one.
fn crowd(place: &Place, folder: &str, n: usize, size: Option<usize>) -> Crowd {
    let device = Device::Cpu(Arc::new(Cpu::new(1).unwrap()));
    let workspace = device.workspace(None);
    let e = Eager::new(&device, &workspace);
    let inception = Inception::open(&Source::open(inception(), Map::On).unwrap()).unwrap();
    let wanted = Wanted { features: true, spatial: true, classes: true };
    let mut crowd = Crowd::new(wanted).unwrap();
    for i in 0..n {
        let picture = Picture::load(place.path(&format!("{folder}/{i}.png"))).unwrap();
        let picture = size.map_or(Ok(picture.clone()), |size| picture.center_crop(size)).unwrap();
        crowd.push(&Crowd::look(&e, &inception, &[picture], wanted).unwrap()).unwrap();
    }
    crowd
}

#[track_caller]
fn near(found: &Value, wanted: f64) {
    let found = found.as_f64().unwrap();
    // The formula's network tells pictures apart but little, so that little is left of a difference's digits.
    assert!((found - wanted).abs() <= 1e-4 * wanted.abs() + 1e-9, "{found}, expected {wanted}");
}

/// An archive as NumPy writes it.
fn archive(path: &Path, method: CompressionMethod, arrays: &[(&str, &[u64], Vec<u8>)]) {
    let mut zip = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    for (name, shape, bytes) in arrays {
        let options = SimpleFileOptions::default().compression_method(method);
        zip.start_file(format!("{name}.npy"), options).unwrap();
        if shape.len() > 2 {
            let options = npyz::WriteOptions::<u8>::new().default_dtype().shape(shape);
            let mut npy = options.writer(&mut zip).begin_nd().unwrap();
            npy.extend(bytes.iter().copied()).unwrap();
            npy.finish().unwrap();
        } else {
            let options = npyz::WriteOptions::<f64>::new().default_dtype().shape(shape);
            let mut npy = options.writer(&mut zip).begin_nd().unwrap();
            npy.extend(bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b))).unwrap();
            npy.finish().unwrap();
        }
    }
    zip.finish().unwrap().flush().unwrap();
}

#[test]
fn figures_and_archives() {
    let place = Place::new();
    pictures(&place);
    std::fs::write(place.path("made/bad.png"), b"nothing").unwrap();
    let ran = samples(&place, "made --reference real --split 4 --json a.json");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for word in ["left out: made/bad.png", "FID says little", "comes out too small"] {
        // 6 pictures are more than a split of 4.
        assert_eq!(ran.err.contains(word), word != "comes out too small", "{word}: {}", ran.err);
    }
    for word in ["sFID", "inception score", "precision", "recall", "pytorch-fid", "6,"] {
        assert!(ran.out.contains(word), "{word}: {}", ran.out);
    }
    let a = json(&place, "a.json");
    let (made, real) = (crowd(&place, "made", 6, None), crowd(&place, "real", 5, None));
    let (ours, theirs) = (made.gaussians().unwrap(), real.gaussians().unwrap());
    near(&a["fid"], frechet(&ours.0, &theirs.0).unwrap());
    near(&a["sfid"], frechet(&ours.1.unwrap(), &theirs.1.clone().unwrap()).unwrap());
    near(&a["inception_score"][0], made.score(4).unwrap().0);
    let neighbours = precision_recall(real.features(), made.features(), 2048, 3, 1).unwrap();
    near(&a["precision"], neighbours.precision);
    near(&a["recall"], neighbours.recall);
    assert_eq!((a["pictures"].as_u64(), a["left_out"].as_u64()), (Some(6), Some(1)));
    assert_eq!(a["network"], "pytorch-fid");
    assert!(!place.path("a.json.part").exists() && !place.path("a.json.reference.part").exists());

    // The same squares out of a folder, an archive and a compressed one; statistics alone have no neighbours.
    samples(&place, "made --reference real --size 24 --json b.json").code.unwrap();
    let b = json(&place, "b.json");
    let squares = |folder: &str, n: usize| -> Vec<u8> {
        let load = |i| Picture::load(place.path(&format!("{folder}/{i}.png"))).unwrap();
        (0..n).flat_map(|i| load(i).center_crop(24).unwrap().pixels().to_vec()).collect()
    };
    std::fs::create_dir(place.path("archives")).unwrap();
    let half = 3 * 24 * 24 * 3;
    let all = squares("made", 6);
    archive(
        &place.path("archives/0.npz"),
        CompressionMethod::Stored,
        &[("arr_0", &[3, 24, 24, 3], all[..half].to_vec())],
    );
    archive(
        &place.path("archives/1.npz"),
        CompressionMethod::Deflated,
        &[("arr_0", &[3, 24, 24, 3], all[half..].to_vec())],
    );
    let real = crowd(&place, "real", 5, Some(24));
    let (features, spatial) = real.gaussians().unwrap();
    let mut arrays: Vec<(&str, Vec<u64>, Vec<u8>)> = Vec::new();
    for (names, gaussian) in [(["mu", "sigma"], &features), (["mu_s", "sigma_s"], &spatial.unwrap())] {
        let dim = gaussian.mean.len();
        let bytes =
            |values: &mut dyn Iterator<Item = f64>| values.flat_map(f64::to_le_bytes).collect::<Vec<u8>>();
        arrays.push((names[0], vec![dim as u64], bytes(&mut gaussian.mean.iter().copied())));
        let mut covariance = (0..dim * dim).map(|i| gaussian.covariance[(i / dim, i % dim)]);
        arrays.push((names[1], vec![dim as u64; 2], bytes(&mut covariance)));
    }
    let borrowed: Vec<(&str, &[u64], Vec<u8>)> =
        arrays.iter().map(|(n, s, b)| (*n, s.as_slice(), b.clone())).collect();
    archive(&place.path("stored.npz"), CompressionMethod::Stored, &borrowed);
    let ran = samples(&place, "archives --reference stored.npz --json c.json");
    assert!(ran.code == Some(0) && ran.err.contains("probably of ADM's network"), "{}", ran.err);
    let c = json(&place, "c.json");
    for key in ["fid", "sfid"] {
        near(&c[key], b[key].as_f64().unwrap());
    }
    near(&c["inception_score"][0], b["inception_score"][0].as_f64().unwrap());
    assert!(c["precision"].is_null() && c["reference_pictures"].is_null());
    let mut with_pictures = borrowed;
    with_pictures.push(("arr_0", &[5, 24, 24, 3], squares("real", 5)));
    archive(&place.path("both.npz"), CompressionMethod::Deflated, &with_pictures);
    samples(&place, "archives --reference both.npz --json d.json").code.unwrap();
    let d = json(&place, "d.json");
    for key in ["fid", "sfid", "precision", "recall"] {
        near(&d[key], b[key].as_f64().unwrap());
    }

    archive(&place.path("half.npz"), CompressionMethod::Stored, &with_pictures[..1]);
    samples(&place, "made --reference half.npz").ended(1, &["mu and sigma belong together"]);
    let other = [("mu", &[8][..], vec![0; 64]), ("sigma", &[8, 8][..], vec![0; 512])];
    archive(&place.path("other.npz"), CompressionMethod::Stored, &other);
    samples(&place, "made --reference other.npz").ended(1, &["mu of 8", "expected 2048"]);
    archive(&place.path("none.npz"), CompressionMethod::Stored, &with_pictures[2..4]);
    samples(&place, "made --reference none.npz").ended(2, &["neither mu and sigma nor arr_0"]);
    archive(&place.path("flat.npz"), CompressionMethod::Stored, &[("arr_0", &[4, 3, 3], vec![0; 36])]);
    samples(&place, "flat.npz --reference real").ended(1, &["expected pictures (height, width, 3)"]);
    std::fs::write(place.path("text.npz"), b"text").unwrap();
    samples(&place, "text.npz --reference real").ended(1, &["text.npz: no .npz"]);
}

/// A run that is killed goes on where it was, and ends in the same numbers.
#[test]
fn kills_are_survived() {
    let place = Place::new();
    (0..40).for_each(|i| place.picture(&format!("made/{i:02}.png"), 30 + i, 24));
    (0..5).for_each(|i| place.picture(&format!("real/{i}.png"), 50 - i, 31));
    samples(&place, "made --reference real --json whole.json").code.unwrap();
    let mut child = Command::new(crate::PROGRAM)
        .current_dir(place.path(""))
        .args(["eval", "samples", "made", "--reference", "real", "--json", "cut.json", "--inception"])
        .arg(inception())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let part = place.path("cut.json.part");
    let entry = 4 * (2048 + 2023 + 1008) + 5;
    while std::fs::metadata(&part).map_or(0, |about| about.len()) < 10 * entry {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let there = std::fs::read(&part).unwrap();
    assert!((there.len() as u64) < 40 * entry, "it was done when it was killed");
    // The last entry is damaged, and there is part of another.
    let mut damaged = there.clone();
    let last = damaged.len() - 9;
    damaged[last] ^= 1;
    damaged.extend([1, 2, 3]);
    std::fs::write(&part, damaged).unwrap();
    samples(&place, "made --reference real --json cut.json").code.unwrap();
    let (whole, cut) = (json(&place, "whole.json"), json(&place, "cut.json"));
    for key in ["pictures", "fid", "sfid", "inception_score", "precision", "recall"] {
        assert_eq!(whole[key], cut[key], "{key}");
    }
    // Kept features are of these pictures alone, and make the second run a short one.
    samples(&place, "made --reference real --features kept").code.unwrap();
    std::fs::remove_file(place.path("made/00.png")).unwrap();
    samples(&place, "made --reference real --features kept").ended(1, &["kept", "begun for other pictures"]);
}

#[test]
fn mistakes_are_explained() {
    let place = Place::new();
    pictures(&place);
    std::fs::create_dir(place.path("empty")).unwrap();
    samples(&place, "empty --reference real").ended(1, &["empty", "no pictures there"]);
    samples(&place, "made --reference empty").ended(1, &["empty", "no pictures there"]);
    samples(&place, "made --reference nowhere").ended(1, &["nowhere"]);
    samples(&place, "made").ended(2, &["--reference"]);
    samples(&place, "made --reference real --split 0").ended(2, &["--split 0"]);
    samples(&place, "made --reference real --features real").ended(2, &["expected a file"]);
    place.run("eval samples made --reference real --inception made/0.png").ended(1, &["made/0.png"]);
    std::fs::write(place.path("graph.pb"), b"\x0a\xff\x01").unwrap();
    place.run("eval samples made --reference real --inception graph.pb").ended(1, &["no TensorFlow graph"]);
    // Weights that make what is no number.
    let source = Source::open(inception(), Map::On).unwrap();
    let mut tensors: Vec<_> =
        source.names().map(|name| (name.to_string(), source.tensor(name).unwrap())).collect();
    for (name, tensor) in &mut tensors {
        if name == "Mixed_7c.branch1x1.bn.bias" {
            let mut values = tensor.data::<f32>().unwrap().to_vec();
            values[3] = f32::NAN;
            *tensor = fqgan::tensor::Tensor::from_slice([values.len()], &values).unwrap();
        }
    }
    let named: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
    fqgan::weights::save(place.path("nan.safetensors"), &named, &Default::default()).unwrap();
    place
        .run("eval samples made --reference real --inception nan.safetensors")
        .ended(1, &["NaN of a picture (number 3): are its weights damaged?"]);
}

/// Every kind of picture is measured, and what is none is named.
#[test]
fn kinds_of_pictures() {
    let place = Place::new();
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/image/files");
    std::fs::create_dir(place.path("kinds")).unwrap();
    let kinds =
        ["alpha.png", "animated.png", "animated.webp", "cmyk.jpg", "grey.png", "grey16.png", "palette.png"];
    for name in kinds {
        std::fs::copy(files.join(name), place.path("kinds").join(name)).unwrap();
    }
    for name in ["bomb.png", "other.gif"] {
        std::fs::copy(files.join(name), place.path("kinds").join(name).with_extension("png")).unwrap();
    }
    let ran = place.run("eval reconstruction -m model.safetensors kinds --json kinds.json");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for words in ["left out: kinds/bomb.png", "left out: kinds/other.png"] {
        assert!(ran.err.contains(words), "{}", ran.err);
    }
    let found = json(&place, "kinds.json");
    assert_eq!((found["pictures"].as_u64(), found["left_out"].as_u64()), (Some(7), Some(2)), "{}", ran.err);
    let ran = samples(&place, "kinds --reference kinds --json same.json");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let same = json(&place, "same.json");
    assert!(same["fid"].as_f64().unwrap().abs() < 1e-6);
    assert_eq!((same["precision"].as_f64(), same["recall"].as_f64()), (Some(1.0), Some(1.0)));
}

/// The pages of both evaluations in a browser: all pictures are shown, and nothing is fetched.
#[test]
fn pages_in_a_browser() {
    let Some(browser) = browser() else { return };
    let place = Place::new();
    pictures(&place);
    place.run("eval reconstruction -m model.safetensors made --html tokens.html").ended(0, &[]);
    samples(&place, "made --reference real --html samples.html").code.unwrap();
    for (page, words, least) in [
        ("tokens.html", ["<td>PSNR</td>", "codes of sem"], 8),
        ("samples.html", ["<td>FID</td>", "likeliest class"], 4),
    ] {
        let text = std::fs::read_to_string(place.path(page)).unwrap();
        let outside = text.replace("http://www.w3.org/2000/svg", "");
        assert!(!outside.contains("http:") && !outside.contains("https:"), "{page} names another place");
        let script = "<script>addEventListener('load', () => {\
            const all = [...document.images], data = document.body.dataset;\
            data.shown = all.filter(i => i.complete && i.naturalWidth > 0).length + ' of ' + all.length;\
            data.fetched = performance.getEntriesByType('resource').filter(r => !r.name.startsWith('data:')).length;\
            data.labels = document.querySelectorAll('svg text').length; })</script></body>";
        std::fs::write(place.path("watched.html"), text.replace("</body>", script)).unwrap();
        let output = Command::new(&browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .arg(format!("--user-data-dir={}", place.path(&format!("profile-{page}")).display()))
            .args(["--virtual-time-budget=10000", "--dump-dom"])
            .arg(format!("file://{}", place.path("watched.html").display()))
            .output()
            .unwrap();
        let dom = String::from_utf8_lossy(&output.stdout);
        for word in words {
            assert!(dom.contains(word), "{page}, {word}: {dom:.2000}");
        }
        let value = |key: &str| dom.split(&format!("data-{key}=\"")).nth(1).and_then(|v| v.split('"').next());
        assert_eq!(value("shown"), Some("1 of 1"), "{page}");
        assert_eq!(value("fetched"), Some("0"), "{page}");
        assert!(value("labels").unwrap().parse::<usize>().unwrap() >= least, "{page}");
    }
}

/// Chromium, where it is; CI says that it must be.
fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser"];
    let found =
        std::env::split_paths(&path).flat_map(|p| names.map(|name| p.join(name))).find(|p| p.is_file());
    let required = std::env::var_os("FQGAN_TOOLS").is_some_and(|value| value == "required");
    assert!(found.is_some() || !required, "chromium is not there");
    found
}
