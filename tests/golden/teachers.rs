//! The networks that judge, on two photographs: class features of the frozen towers, LPIPS, PatchGAN.

use crate::{common, device};
use fqgan::exec::{Eager, Exec};
use fqgan::image::Picture;
use fqgan::teachers::{Discriminator, Inception, Lpips, Teacher};
use fqgan::tensor::Tensor;
use fqgan::weights::{Map, Source};

/// Relative L2 error. A second implementation from the description reached 1e-6.
const BOUND: f64 = 5e-5;
const SIDE: usize = 256;

/// The photographs of the training cases, (2, 256, 256, 3) in [-1, 1].
pub fn pictures() -> Tensor {
    let mut all = vec![0.0; 2 * SIDE * SIDE * 3];
    for (name, pixels) in
        ["astronaut_256.png", "chelsea_256.png"].iter().zip(all.chunks_exact_mut(SIDE * SIDE * 3))
    {
        Picture::load(common::golden(name)).unwrap().view().read_into(pixels, 0..SIDE).unwrap();
    }
    Tensor::from_slice([2, SIDE, SIDE, 3], &all).unwrap()
}

pub fn formula(name: &str) -> Source {
    Source::open(common::formula_file(name), Map::On).unwrap()
}

#[track_caller]
pub fn compare(what: &str, got: &Tensor) {
    let golden = Source::open(common::golden("teachers.safetensors"), Map::On).unwrap().tensor(what).unwrap();
    let got = got.on_host().unwrap();
    let (got, want) = (got.data::<f32>().unwrap(), golden.data::<f32>().unwrap());
    assert_eq!(got.len(), want.len(), "{what}");
    let square = |x: f64| x * x;
    let error: f64 = got.iter().zip(want).map(|(g, w)| square(f64::from(*g) - f64::from(*w))).sum();
    let error = (error / want.iter().map(|w| square(f64::from(*w))).sum::<f64>()).sqrt();
    println!("{what}: {error:.1e}");
    assert!(error <= BOUND, "{what}: {error:.2e}");
}

fn check(name: &str) {
    let (device, source) = (device(), formula(name));
    let workspace = device.workspace(None);
    let e = Eager::new(&device, &workspace);
    let teacher = Teacher::open(&source).unwrap();
    compare(name, &teacher.class_features(&e, &e.cx().upload(&pictures()).unwrap()).unwrap());
}

#[test]
fn clip_b16() {
    check("clip_b16");
}

#[test]
fn clip_l14() {
    check("clip_l14");
}

#[test]
fn dinov2_s() {
    check("dinov2_s");
}

#[test]
fn lpips() {
    let (device, source) = (device(), formula("lpips_vgg16"));
    let workspace = device.workspace(None);
    let e = Eager::new(&device, &workspace);
    let lpips = Lpips::open(&source, &source).unwrap();
    let both = pictures();
    let (first, second) = both.data::<f32>().unwrap().split_at(SIDE * SIDE * 3);
    let picture =
        |pixels: &[f32]| e.cx().upload(&Tensor::from_slice([1, SIDE, SIDE, 3], pixels).unwrap()).unwrap();
    let others = lpips.features(&e, &picture(second)).unwrap();
    compare("lpips_astronaut_vs_chelsea", &lpips.distance(&e, &picture(first), &others).unwrap());
}

#[test]
fn patchgan() {
    let (device, source) = (device(), formula("patchgan_discriminator"));
    let workspace = device.workspace(None);
    let e = Eager::new(&device, &workspace);
    let discriminator = Discriminator::open(&source).unwrap();
    let logits = discriminator.forward(&e, &e.cx().upload(&pictures()).unwrap()).unwrap();
    assert_eq!(e.desc(&logits).shape[..], [2, 30, 30, 1]);
    compare("patchgan_eval_logits", &logits);
}

#[test]
fn inception() {
    let (device, source) = (device(), formula("fid_inception_v3"));
    let workspace = device.workspace(None);
    let e = Eager::new(&device, &workspace);
    let pictures = e.cx().upload(&pictures()).unwrap();
    let judged = Inception::open(&source).unwrap().judge(&e, &pictures).unwrap();
    compare("inception_pool3", &judged.features);
    compare("inception_logits_without_bias", &judged.logits);
}
