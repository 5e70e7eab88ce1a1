//! The tokenizer in bf16 beside itself in f32, on the golden photographs: the codes agree on 97 of 100 positions.

use crate::{common, device};
use fqgan::image::{Picture, PixelFormat, ViewMut};
use fqgan::nn::Precision;
use fqgan::tokenizer::{Options, Tokenizer};
use fqgan::weights::{Map, Source};

const PHOTOGRAPHS: [&str; 3] = ["astronaut_256.png", "chelsea_256.png", "coffee_256.png"];

fn check(name: &str) {
    let device = device();
    let source = Source::open(common::formula_file(name), Map::On).unwrap();
    let open =
        |precision| Tokenizer::open(&device, &source, &Options { precision, ..Options::default() }).unwrap();
    let (exact, narrow) = (open(Precision::F32), open(Precision::Bf16));
    let (mut equal, mut all) = (0, 0);
    for photograph in PHOTOGRAPHS {
        let picture = Picture::load(common::golden(photograph)).unwrap();
        let grid = exact.grid(picture.view().width(), picture.view().height()).unwrap();
        let codes = |tokenizer: &Tokenizer| {
            let mut codes = vec![0; exact.config().branches.len() * grid.height * grid.width];
            tokenizer.encode_into(&[picture.view()], &mut codes).unwrap();
            codes
        };
        let (want, got) = (codes(&exact), codes(&narrow));
        equal += want.iter().zip(&got).filter(|(a, b)| a == b).count();
        all += want.len();
        if photograph != PHOTOGRAPHS[0] {
            continue;
        }
        let pixels = |tokenizer: &Tokenizer| {
            let (w, h) = (picture.view().width(), picture.view().height());
            let mut planes = vec![0.0f32; 3 * w * h];
            let view = ViewMut::floats(&mut planes, w, h, 0, PixelFormat::RgbF32Planar).unwrap();
            tokenizer.decode_into(&want, grid, 0, &mut [view]).unwrap();
            planes
        };
        let (want, got) = (pixels(&exact), pixels(&narrow));
        let square = |v: f32| f64::from(v) * f64::from(v);
        let error: f64 = want.iter().zip(&got).map(|(a, b)| square(a - b)).sum();
        let error = (error / want.iter().map(|&v| square(v)).sum::<f64>()).sqrt();
        println!("{name}: reconstruction in bf16 off by {error:.1e}");
        // Three dozen layers of 8-bit factors.
        assert!(error < 2e-2, "{name}: reconstruction in bf16 off by {error:.2e}");
    }
    let share = 100.0 * equal as f64 / all as f64;
    println!("{name}: {share:.2} % of {all} codes equal in bf16");
    assert!(share >= 97.0, "{name}: {share:.2} % of {all} codes equal in bf16");
}

#[test]
fn dual_f16() {
    check("tokenizer_dual_vq16");
}

#[test]
fn triple_f16() {
    check("tokenizer_triple_vq16");
}
