use crate::models::{device, open, pixels, source};
use fqgan::Status;
use fqgan::image::{PixelFormat, View, ViewMut};
use fqgan::nn::Precision;
use fqgan::tokenizer::{Grid, Options, Tokenizer};

fn encode(tokenizer: &Tokenizer, pixels: &[u8], width: usize, height: usize) -> Vec<u32> {
    let grid = tokenizer.grid(width, height).unwrap();
    let mut codes = vec![0; tokenizer.config().branches.len() * grid.width * grid.height];
    tokenizer.encode_into(&[View::rgb8(pixels, width, height).unwrap()], &mut codes).unwrap();
    codes
}

fn decode(tokenizer: &Tokenizer, codes: &[u32], width: usize, height: usize, mask: u32) -> Vec<u8> {
    let mut out = vec![0; width * height * 3];
    let grid = tokenizer.grid(width, height).unwrap();
    tokenizer.decode_into(codes, grid, mask, &mut [ViewMut::rgb8(&mut out, width, height).unwrap()]).unwrap();
    out
}

#[test]
fn any_number_of_codebooks_and_any_size() {
    for k in [1, 2, 3, 5] {
        let tokenizer = open(k, 2);
        for (width, height) in [(32, 32), (4, 4), (64, 32), (20, 44)] {
            let codes = encode(&tokenizer, &pixels(k, width, height), width, height);
            assert!(codes.iter().all(|&c| c < 64));
            assert!(codes.len() < 8 || codes.iter().any(|&c| c != codes[0]), "k {k}: one code everywhere");
            let all = decode(&tokenizer, &codes, width, height, 0);
            assert_eq!(all, decode(&tokenizer, &codes, width, height, (1 << k) - 1));
            if k > 1 {
                assert_ne!(
                    all,
                    decode(&tokenizer, &codes, width, height, 1),
                    "k {k}: the mask changes nothing"
                );
            }
        }
    }
}

#[test]
fn a_batch_is_its_pictures_one_by_one() {
    let tokenizer = open(2, 2);
    // More than go through the network at once would take too long; chunks are cut the same way for any count.
    let pictures: Vec<Vec<u8>> = (0..5).map(|seed| pixels(seed, 32, 32)).collect();
    let views: Vec<View<'_>> = pictures.iter().map(|p| View::rgb8(p, 32, 32).unwrap()).collect();
    let mut codes = vec![0; 5 * 128];
    tokenizer.encode_into(&views, &mut codes).unwrap();
    let mut out = vec![0u8; 5 * 32 * 32 * 3];
    let mut targets: Vec<_> =
        out.chunks_exact_mut(32 * 32 * 3).map(|p| ViewMut::rgb8(p, 32, 32).unwrap()).collect();
    tokenizer.decode_into(&codes, Grid { height: 8, width: 8 }, 0, &mut targets).unwrap();
    for (i, picture) in pictures.iter().enumerate() {
        let alone = encode(&tokenizer, picture, 32, 32);
        assert_eq!(alone, codes[i * 128..][..128], "picture {i}");
        assert_eq!(decode(&tokenizer, &alone, 32, 32, 0), out[i * 3072..][..3072], "picture {i}");
    }
    tokenizer.encode_into(&[], &mut []).unwrap();
}

#[test]
fn any_number_of_threads_and_callers() {
    let picture = pixels(3, 64, 32);
    let one = open(2, 1);
    let mut latents = vec![0.0f32; 2 * 4 * 128];
    one.latents_into(&[View::rgb8(&picture, 64, 32).unwrap()], &mut latents).unwrap();
    let codes = encode(&one, &picture, 64, 32);
    let pixels_back = decode(&one, &codes, 64, 32, 0);
    for threads in [2, 3, 4] {
        let other = open(2, threads);
        let mut again = vec![0.0f32; latents.len()];
        other.latents_into(&[View::rgb8(&picture, 64, 32).unwrap()], &mut again).unwrap();
        assert!(latents.iter().zip(&again).all(|(a, b)| a.to_bits() == b.to_bits()), "{threads} threads");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..3 {
                        assert_eq!(encode(&other, &picture, 64, 32), codes);
                        assert_eq!(decode(&other, &codes, 64, 32, 0), pixels_back);
                    }
                });
            }
        });
    }
}

#[test]
fn a_memory_limit_is_kept_or_said() {
    let unlimited = open(2, 2);
    let picture = pixels(5, 32, 32);
    let with = |limit| {
        let options = Options { memory_limit: Some(limit), ..Options::default() };
        Tokenizer::open(&device(2), &source(2), &options).unwrap()
    };
    let roomy = with(256 << 20);
    assert_eq!(encode(&roomy, &picture, 32, 32), encode(&unlimited, &picture, 32, 32));
    let tight = with(1 << 20);
    let mut codes = vec![0; 128];
    let error = tight.encode_into(&[View::rgb8(&picture, 32, 32).unwrap()], &mut codes).unwrap_err();
    assert_eq!(error.status(), Status::OutOfMemory, "{error}");
    assert!(error.message().contains("memory limit"), "{error}");
}

#[test]
fn refusals() {
    let tokenizer = open(2, 1);
    let picture = pixels(1, 32, 32);
    let view = View::rgb8(&picture, 32, 32).unwrap();
    let odd = View::rgb8(&picture, 30, 32).unwrap();
    let mut codes = vec![0; 256];
    let says = |result: fqgan::Result<()>, words: &str| {
        let error = result.expect_err(words);
        assert_eq!(error.status(), Status::InvalidArgument);
        assert!(error.message().contains(words), "{error} lacks {words:?}");
    };
    says(
        tokenizer.encode_into(&[odd], &mut codes),
        "30 x 32 pixels: expected sides that are positive multiples of 4",
    );
    let small = View::rgb8(&picture, 16, 32).unwrap();
    says(
        tokenizer.encode_into(&[view, small], &mut codes),
        "picture 1 is 16 x 32 pixels, the first is 32 x 32",
    );
    says(tokenizer.encode_into(&[view], &mut codes[..127]), "codes holds 127 elements, expected 128");
    let mut floats = vec![0.5f32; 32 * 32 * 3];
    floats[32 * 3 * 7 + 3 * 4 + 1] = f32::NAN;
    let nan = View::floats(&floats, 32, 32, 0, PixelFormat::RgbF32).unwrap();
    says(tokenizer.encode_into(&[view, nan], &mut codes), "picture 1");

    let mut out = vec![0; 32 * 32 * 3];
    let grid = Grid { height: 8, width: 8 };
    let mut decode = |codes: &[u32], grid, mask| {
        tokenizer.decode_into(codes, grid, mask, &mut [ViewMut::rgb8(&mut out, 32, 32).unwrap()])
    };
    codes.fill(3);
    says(decode(&codes[..100], grid, 0), "codes holds 100 elements, expected 128");
    says(decode(&codes, grid, 0b100), "names more than the 2 sub-codebooks");
    says(decode(&codes, Grid { height: 8, width: 4 }, 0), "expected 16 x 32");
    says(decode(&codes, Grid { height: 0, width: 4 }, 0), "expected at least 1 x 1");
    says(decode(&codes, Grid { height: usize::MAX / 2, width: 4 }, 0), "more than can be addressed");
    codes[70] = 64;
    says(decode(&codes, grid, 0), "64");

    let options = Options { precision: Precision::Int8, memory_limit: None };
    let error = Tokenizer::open(&device(1), &source(2), &options).err().unwrap();
    assert_eq!(error.status(), Status::Unsupported);
    assert!(error.message().contains("expected f32 or bf16"), "{error}");
}
