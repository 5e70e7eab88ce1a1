use crate::models::{open, pixels};
use fqgan::image::{View, ViewMut};
use fqgan::tokenizer::Tiling;

#[test]
fn one_tile_is_the_whole_picture() {
    let tokenizer = open(2, 2);
    let picture = pixels(1, 32, 24);
    let view = View::rgb8(&picture, 32, 24).unwrap();
    let (mut whole, mut tiled) = (vec![0; 2 * 48], vec![1; 2 * 48]);
    tokenizer.encode_into(&[view], &mut whole).unwrap();
    let tiling = Tiling::trained(&tokenizer);
    assert_eq!(tiling, Tiling { tile: 32, overlap: 8 });
    tokenizer.encode_tiled_into(&view, tiling, &mut tiled).unwrap();
    assert_eq!(whole, tiled);

    let grid = tokenizer.grid(32, 24).unwrap();
    let (mut a, mut b) = (vec![0; 32 * 24 * 3], vec![0; 32 * 24 * 3]);
    tokenizer.decode_into(&whole, grid, 0, &mut [ViewMut::rgb8(&mut a, 32, 24).unwrap()]).unwrap();
    let mut view = ViewMut::rgb8(&mut b, 32, 24).unwrap();
    tokenizer.decode_tiled_into(&whole, grid, 0, tiling, &mut view).unwrap();
    assert_eq!(a, b);
}

#[test]
fn inner_cells_are_their_tile_s_own() {
    let tokenizer = open(2, 2);
    let (width, height) = (100, 76);
    let picture = pixels(2, width, height);
    let view = View::rgb8(&picture, width, height).unwrap();
    let grid = tokenizer.grid(width, height).unwrap();
    let tiling = Tiling { tile: 32, overlap: 8 };
    let mut codes = vec![u32::MAX; 2 * grid.width * grid.height];
    tokenizer.encode_tiled_into(&view, tiling, &mut codes).unwrap();
    // The first tile owns at least the cells before its overlap.
    let mut first = vec![0; 2 * 64];
    tokenizer.encode_into(&[view.crop(0, 0, 32, 32).unwrap()], &mut first).unwrap();
    for (branch, y, x) in (0..2).flat_map(|b| (0..6).flat_map(move |y| (0..6).map(move |x| (b, y, x)))) {
        assert_eq!(codes[(branch * grid.height + y) * grid.width + x], first[branch * 64 + y * 8 + x]);
    }
    assert!(codes.iter().all(|&c| c < 64));

    let mut out = vec![0; width * height * 3];
    let mut target = ViewMut::rgb8(&mut out, width, height).unwrap();
    tokenizer.decode_tiled_into(&codes, grid, 0, tiling, &mut target).unwrap();
    // The corner lies in one tile only.
    let mut tile_codes = vec![0; 128];
    for (i, code) in tile_codes.iter_mut().enumerate() {
        *code = codes[(i / 64 * grid.height + i % 64 / 8) * grid.width + i % 8];
    }
    let mut tile = vec![0; 32 * 32 * 3];
    let small = tokenizer.grid(32, 32).unwrap();
    tokenizer.decode_into(&tile_codes, small, 0, &mut [ViewMut::rgb8(&mut tile, 32, 32).unwrap()]).unwrap();
    for y in 0..16 {
        assert_eq!(out[y * width * 3..][..16 * 3], tile[y * 96..][..16 * 3], "row {y}");
    }
}

#[test]
fn refusals() {
    let tokenizer = open(2, 1);
    let picture = pixels(1, 64, 64);
    let view = View::rgb8(&picture, 64, 64).unwrap();
    let mut codes = vec![0; 512];
    for (tile, overlap) in [(0, 0), (30, 8), (32, 32), (32, 6)] {
        let error = tokenizer.encode_tiled_into(&view, Tiling { tile, overlap }, &mut codes).unwrap_err();
        assert!(error.message().contains("expected multiples of 4"), "{error}");
    }
}
