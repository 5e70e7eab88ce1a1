//! All four published tokenizers on a photograph, at every instruction level. The bounds are those of the
//! golden cases' description; what is reached stands in `benches/RESULTS.md`.

use crate::{common, devices};
use fqgan::backend::cpu::Isa;
use fqgan::image::{Picture, PixelFormat, View, ViewMut};
use fqgan::tokenizer::{Grid, Options, Tokenizer};
use fqgan::weights::{Map, Source};

const SIDE: usize = 256;
/// Rows and columns of the cropped reconstructions.
const CROP: std::ops::Range<usize> = 96..160;
/// A smaller distance between the best and the second code may fall either way.
const GAP: f32 = 1e-3;
/// Relative L2 error of latents and pictures.
const BOUND: f64 = 2e-4;

fn relative(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let square = |x: f64| x * x;
    let error: f64 = got.iter().zip(want).map(|(g, w)| square(f64::from(*g) - f64::from(*w))).sum();
    (error / want.iter().map(|w| square(f64::from(*w))).sum::<f64>()).sqrt()
}

fn levels() -> Vec<Isa> {
    match std::env::var_os("FQGAN_ISA") {
        Some(_) => vec![Isa::from_environment().unwrap()],
        None => vec![Isa::best()],
    }
}

fn crop(planes: &[f32]) -> Vec<f32> {
    let rows = (0..3).flat_map(|c| CROP.map(move |y| (c * SIDE + y) * SIDE));
    rows.flat_map(|row| planes[row + CROP.start..row + CROP.end].iter().copied()).collect()
}

fn check(name: &str, suffixes: &[&str]) {
    let golden = Source::open(common::golden(&format!("{name}.safetensors")), Map::On).unwrap();
    let expected = |key: &str| golden.tensor(key).unwrap().data::<f32>().unwrap().to_vec();
    let source = Source::open(common::formula_file(name), Map::On).unwrap();
    let picture = Picture::load(common::golden("astronaut_256.png")).unwrap();
    for device in devices(levels(), 0) {
        let tokenizer = Tokenizer::open(&device, &source, &Options::default()).unwrap();
        let grid = tokenizer.grid(SIDE, SIDE).unwrap();
        let (k, d) = (suffixes.len(), tokenizer.config().code_dim);
        let cells = grid.height * grid.width;
        assert_eq!(tokenizer.config().branches.len(), k);

        let images: [View<'_>; 1] = [picture.view()];
        let mut latents = vec![0.0; k * d * cells];
        tokenizer.latents_into(&images, &mut latents).unwrap();
        let mut codes = vec![0; k * cells];
        tokenizer.encode_into(&images, &mut codes).unwrap();

        let mut golden_codes = Vec::new();
        for (branch, suffix) in suffixes.iter().enumerate() {
            let z = &latents[branch * d * cells..][..d * cells];
            let error = relative(z, &expected(&format!("z_{suffix}")));
            println!("{name} {suffix} on {device}: latents {error:.1e}");
            assert!(error <= BOUND, "{name} {suffix} on {device}: latents {error:.2e}");
            let gaps = expected(&format!("gap_{suffix}"));
            let want = golden.tensor(&format!("codes_{suffix}")).unwrap();
            let want: Vec<u32> = want.data::<i32>().unwrap().iter().map(|&c| c as u32).collect();
            for (cell, (&got, &want)) in codes[branch * cells..].iter().zip(&want).enumerate() {
                assert!(
                    got == want || gaps[cell] <= GAP,
                    "{name} {suffix} cell {cell}: code {got}, expected {want}"
                );
            }
            golden_codes.extend(want);
        }
        let whole = decode(&tokenizer, &golden_codes, grid, 0);
        let alone = decode(&tokenizer, &golden_codes, grid, 1);
        let error = match golden.get("reconstruction").unwrap() {
            Some(full) => relative(&whole, full.data().unwrap()),
            None => relative(&crop(&whole), &expected("reconstruction_crop")),
        };
        let error_alone = relative(&crop(&alone), &expected("reconstruction_vis_only_crop"));
        println!("{name} on {device}: reconstruction {error:.1e}, from vis alone {error_alone:.1e}");
        assert!(error <= BOUND && error_alone <= BOUND, "{name} on {device}: {error:.2e} {error_alone:.2e}");
    }
}

/// Planes of floats.
fn decode(tokenizer: &Tokenizer, codes: &[u32], grid: Grid, mask: u32) -> Vec<f32> {
    let mut planes = vec![0.0; 3 * SIDE * SIDE];
    let view = ViewMut::floats(&mut planes, SIDE, SIDE, 0, PixelFormat::RgbF32Planar).unwrap();
    tokenizer.decode_into(codes, grid, mask, &mut [view]).unwrap();
    planes
}

#[test]
fn dual_f16() {
    check("tokenizer_dual_vq16", &["vis", "sem"]);
}

#[test]
fn dual_f8() {
    check("tokenizer_dual_vq8", &["vis", "sem"]);
}

#[test]
fn triple_f16() {
    check("tokenizer_triple_vq16", &["vis", "sem_mid", "sem_high"]);
}

#[test]
fn triple_f8() {
    check("tokenizer_triple_vq8", &["vis", "sem_mid", "sem_high"]);
}
