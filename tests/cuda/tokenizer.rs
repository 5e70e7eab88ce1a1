use crate::{close, common, cpu, cuda, small, tiny};
use fqgan::backend::Device;
use fqgan::image::{PixelFormat, View, ViewMut};
use fqgan::nn::Precision;
use fqgan::tokenizer::{Grid, Options, Tokenizer};
use fqgan::weights::{Map, Source};

const SIDE: usize = 32;

struct Seen {
    latents: Vec<f32>,
    codes: Vec<u32>,
    /// Of the first device's codes, which both decode.
    picture: Vec<f32>,
}

fn run(device: &Device, options: &Options, codes: Option<&[u32]>) -> Seen {
    let folder = tempfile::tempdir().unwrap();
    let source = Source::open(tiny::tokenizer(folder.path()), Map::On).unwrap();
    see(device, &source, options, 2, codes)
}

/// That many small pictures through a tokenizer.
fn see(device: &Device, source: &Source, options: &Options, n: usize, codes: Option<&[u32]>) -> Seen {
    let tokenizer = Tokenizer::open(device, source, options).unwrap();
    let Grid { height, width } = tokenizer.grid(SIDE, SIDE).unwrap();
    let (k, d) = (tokenizer.config().branches.len(), tokenizer.config().code_dim);
    let pictures = small::pictures(n);
    let views: Vec<View<'_>> = pictures
        .data::<f32>()
        .unwrap()
        .chunks_exact(SIDE * SIDE * 3)
        .map(|pixels| View::floats(pixels, SIDE, SIDE, 0, PixelFormat::RgbF32).unwrap())
        .collect();
    let mut latents = vec![0.0; n * k * d * height * width];
    tokenizer.latents_into(&views, &mut latents).unwrap();
    let mut own = vec![0; n * k * height * width];
    tokenizer.encode_into(&views, &mut own).unwrap();
    let mut picture = vec![0.0; SIDE * SIDE * 3];
    let view = ViewMut::floats(&mut picture, SIDE, SIDE, 0, PixelFormat::RgbF32).unwrap();
    let grid = Grid { height, width };
    tokenizer.decode_into(codes.unwrap_or(&own), grid, 0, &mut [view]).unwrap();
    Seen { latents, codes: own, picture }
}

#[track_caller]
fn same(name: &str, got: &Seen, want: &Seen) {
    close(&format!("{name}: latents"), &got.latents, &want.latents);
    close(&format!("{name}: picture"), &got.picture, &want.picture);
    // Where two codes are about as near, either may be taken.
    let other = got.codes.iter().zip(&want.codes).filter(|(a, b)| a != b).count();
    assert!(other * 100 <= want.codes.len(), "{name}: {other} of {} codes differ", want.codes.len());
}

#[test]
fn the_same_as_on_the_processor() {
    let want = run(&cpu(), &Options::default(), None);
    same("tiny", &run(&cuda(), &Options::default(), Some(&want.codes)), &want);
}

/// Those of the golden cases, whole, but on a picture of 32 x 32.
#[test]
fn the_published_ones_as_on_the_processor() {
    for name in ["dual_vq16", "dual_vq8", "triple_vq16", "triple_vq8"] {
        let source = Source::open(common::formula_file(&format!("tokenizer_{name}")), Map::On).unwrap();
        let want = see(&cpu(), &source, &Options::default(), 1, None);
        same(name, &see(&cuda(), &source, &Options::default(), 1, Some(&want.codes)), &want);
    }
}

#[test]
fn products_of_sixteen_bits() {
    let want = run(&cpu(), &Options::default(), None);
    let options = Options { precision: Precision::Bf16, ..Options::default() };
    let got = run(&cuda(), &options, Some(&want.codes));
    let error = crate::relative(&got.picture, &want.picture);
    println!("picture in bf16: {error:.1e}");
    assert!(error > 1e-6 && error < 3e-2, "{error:.2e}");
}

#[test]
fn calls_at_once_give_what_they_would_one_by_one() {
    let device = cuda();
    let want = run(&device, &Options::default(), None);
    std::thread::scope(|scope| {
        let each: Vec<_> =
            (0..3).map(|_| scope.spawn(|| run(&device, &Options::default(), None).picture)).collect();
        for one in each {
            assert_eq!(one.join().unwrap(), want.picture);
        }
    });
}
