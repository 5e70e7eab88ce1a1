use fqgan::Status;
use fqgan::image::{Picture, PixelFormat, View, ViewMut};
use proptest::prelude::*;

fn refused(what: fqgan::Result<impl Sized>, words: &[&str]) {
    let error = what.err().expect("should have been refused");
    assert_eq!(error.status(), Status::InvalidArgument, "{error}");
    for word in words {
        assert!(error.message().contains(word), "{error:?} does not say {word:?}");
    }
}

/// What PyTorch makes of a byte: the bits of `x.float().div(255).sub(0.5).div(0.5)`, a few of them and a
/// checksum over all.
#[test]
fn bytes_become_what_pytorch_makes_of_them() {
    let bytes: Vec<u8> = (0..=255).flat_map(|b| [b; 3]).collect();
    let mut values = vec![0.0; 256 * 3];
    View::rgb8(&bytes, 16, 16).unwrap().read_into(&mut values, 0..16).unwrap();
    let of = |b: usize| values[3 * b].to_bits();
    for (b, bits) in [
        (0, 0xbf800000),
        (1, 0xbf7dfdfe),
        (2, 0xbf7bfbfc),
        (127, 0xbb808080),
        (128, 0x3b808100),
        (200, 0x3f119192),
        (254, 0x3f7dfdfe),
        (255, 0x3f800000),
    ] {
        assert_eq!(of(b), bits, "byte {b}");
    }
    let all: Vec<u8> = (0..256).flat_map(|b| of(b).to_le_bytes()).collect();
    assert_eq!(crc32fast::hash(&all), 0xb62c8544);
}

#[test]
fn values_become_bytes_by_truncation_after_clamping() {
    let cases = [
        (-1.0, 0),
        (-2.0, 0),
        (f32::NEG_INFINITY, 0),
        (0.0, 128),
        (-0.0039, 127),
        (0.996, 254),
        (1.0, 255),
        (7.0, 255),
        (f32::INFINITY, 255),
        (f32::NAN, 0),
    ];
    let values: Vec<f32> = cases.iter().flat_map(|c| [c.0; 3]).collect();
    let mut bytes = vec![9; cases.len() * 3];
    ViewMut::rgb8(&mut bytes, cases.len(), 1).unwrap().write_from(&values).unwrap();
    for (i, (value, byte)) in cases.into_iter().enumerate() {
        assert_eq!(bytes[3 * i..3 * i + 3], [byte; 3], "{value}");
    }
}

#[test]
fn a_picture_goes_round_unchanged() {
    let mut picture = Picture::new(16, 16).unwrap();
    picture.pixels_mut().iter_mut().enumerate().for_each(|(i, p)| *p = (i * 7 % 256) as u8);
    let mut values = vec![0.0; 16 * 16 * 3];
    picture.view().read_into(&mut values, 0..16).unwrap();
    let mut back = Picture::new(16, 16).unwrap();
    back.view_mut().write_from(&values).unwrap();
    assert_eq!(back, picture);
}

#[test]
fn channels_and_strides() {
    // Two rows of two pixels, each row followed by 3 bytes that are nobody's.
    let rgba = [1, 2, 3, 77, 4, 5, 6, 78, 0, 0, 0, 7, 8, 9, 79, 10, 11, 12, 80];
    let byte = |v: f32| ((v * 0.5 + 0.5) * 255.0).round() as u8;
    let mut values = [0.0; 12];
    View::new(&rgba, 2, 2, 11, PixelFormat::Rgba8).unwrap().read_into(&mut values, 0..2).unwrap();
    assert_eq!(values.map(byte), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    View::new(&rgba, 2, 2, 11, PixelFormat::Bgra8).unwrap().read_into(&mut values, 0..2).unwrap();
    assert_eq!(values.map(byte), [3, 2, 1, 6, 5, 4, 9, 8, 7, 12, 11, 10]);

    let values: Vec<f32> = (1..=12).map(|v| v as f32 / 100.0).collect();
    let mut out = [7; 19];
    ViewMut::new(&mut out, 2, 2, 11, PixelFormat::Bgra8).unwrap().write_from(&values).unwrap();
    assert_eq!(out[..4], [131, 130, 129, 255]);
    assert_eq!(out[8..11], [7; 3], "bytes between the rows are nobody's to write");

    let planes: Vec<f32> = (0..3 * 2 * 3).map(|v| v as f32 / 32.0).collect();
    let mut got = [0.0; 12];
    let view = View::floats(&planes, 2, 2, 12, PixelFormat::RgbF32Planar).unwrap();
    view.read_into(&mut got, 0..2).unwrap();
    let want = [0., 6., 12., 1., 7., 13., 3., 9., 15., 4., 10., 16.].map(|v: f32| v / 32.0);
    assert_eq!(got, want);
}

#[test]
fn impossible_sizes_are_refused() {
    let bytes = [0u8; 64];
    refused(View::rgb8(&bytes, 0, 4), &["0 x 4", "at least 1"]);
    refused(View::rgb8(&bytes, 4, 0), &["4 x 0"]);
    refused(View::new(&bytes, 4, 2, 11, PixelFormat::Rgb8), &["row stride 11", "12 bytes"]);
    refused(View::new(&bytes, 4, 4, 17, PixelFormat::Rgba8), &["needs 67 bytes", "has 64"]);
    refused(View::rgb8(&bytes, usize::MAX / 2, 1), &["too large"]);
    refused(View::rgb8(&bytes, 1 << 40, 1 << 40), &["too large"]);
    refused(View::new(&bytes, 1, 3, usize::MAX / 2, PixelFormat::Rgb8), &["too large"]);
    refused(View::floats(&[0.0; 12], 2, 2, 0, PixelFormat::Rgb8), &["rgb8"]);
    refused(View::floats(&[0.0; 11], 2, 2, 0, PixelFormat::RgbF32Planar), &["needs 48 bytes", "has 44"]);
    // SAFETY: null is refused before it is read.
    refused(unsafe { View::from_raw(std::ptr::null(), 1, 1, 0, PixelFormat::Rgb8) }, &["NULL"]);
    // SAFETY: as above.
    refused(unsafe { ViewMut::from_raw(std::ptr::null_mut(), 1, 1, 0, PixelFormat::Rgb8) }, &["NULL"]);
    refused(PixelFormat::from_number(5), &["5"]);
    refused(PixelFormat::from_number(-1), &["-1"]);
    assert_eq!(PixelFormat::from_number(4).unwrap(), PixelFormat::RgbF32Planar);

    let view = View::rgb8(&bytes, 4, 5).unwrap();
    refused(view.read_into(&mut [0.0; 12], 5..6), &["5..6", "5 rows"]);
    refused(view.read_into(&mut [0.0; 13], 0..1), &["12 values", "13"]);
    #[allow(clippy::reversed_empty_ranges)]
    let backwards = 2..1;
    refused(view.read_into(&mut [], backwards), &["2..1"]);
    refused(view.crop(1, 1, 4, 1), &["4 x 1 at (1, 1)", "4 x 5"]);
    refused(view.crop(1, 1, 0, 1), &["empty"]);
    refused(view.crop(usize::MAX, 0, 1, 1), &["not inside"]);
    refused(Picture::new(usize::MAX, 2), &["too large"]);
    refused(Picture::from_pixels(2, 2, vec![0; 11]), &["12 bytes", "11"]);
}

#[test]
fn values_that_are_not_finite_are_refused_by_place() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut values = vec![0.5; 5 * 4 * 3];
        values[(2 * 5 + 3) * 3 + 1] = bad;
        let view = View::floats(&values, 5, 4, 0, PixelFormat::RgbF32).unwrap();
        refused(view.read_into(&mut [0.0; 60], 0..4), &["(3, 2)", "green", &bad.to_string()]);
        view.read_into(&mut [0.0; 30], 0..2).unwrap();
        refused(view.check_finite(), &["(3, 2)", "green", &bad.to_string()]);
        view.crop(0, 0, 3, 4).unwrap().check_finite().unwrap();

        let mut planes = vec![0.5; 5 * 4 * 3];
        planes[2 * 20 + 19] = bad;
        let view = View::floats(&planes, 5, 4, 0, PixelFormat::RgbF32Planar).unwrap();
        refused(view.read_into(&mut [0.0; 60], 0..4), &["(4, 3)", "blue"]);
        refused(view.check_finite(), &["(4, 3)", "blue"]);
        view.crop(0, 0, 4, 4).unwrap().check_finite().unwrap();
    }
}

proptest! {
    /// Any rectangle of any format, read and written, is what indexing says; nothing else is touched.
    #[test]
    fn crops_read_and_write_their_own_pixels(
        format in prop::sample::select(&PixelFormat::ALL[..]),
        (width, height) in (1usize..9, 1usize..9),
        (left, top, right, bottom) in (0usize..9, 0usize..9, 0usize..9, 0usize..9),
        pad in 0usize..7,
    ) {
        let (x, y) = (left % width, top % height);
        let (w, h) = (right % (width - x) + 1, bottom % (height - y) + 1);
        let stride = width * format.pixel_bytes() + pad;
        let floats = format.pixel_bytes() >= 12 || format.planes() == 3;
        let mut memory: Vec<u8> = (0..stride * height * format.planes()).map(|i| (i * 5 % 251) as u8).collect();
        let offset = |x: usize, y: usize, c: usize| match format {
            PixelFormat::Rgb8 => y * stride + 3 * x + c,
            PixelFormat::Rgba8 => y * stride + 4 * x + c,
            PixelFormat::Bgra8 => y * stride + 4 * x + 2 - c,
            PixelFormat::RgbF32 => y * stride + 12 * x + 4 * c,
            PixelFormat::RgbF32Planar => (c * height + y) * stride + 4 * x,
        };
        let value = |x: usize, y: usize, c: usize| ((x * 31 + y * 17 + c * 7) % 100) as f32 / 50.0 - 0.99;
        let before = memory.clone();
        let values: Vec<f32> =
            (0..h).flat_map(|j| (0..w).flat_map(move |i| (0..3).map(move |c| value(i, j, c)))).collect();
        let mut all = ViewMut::new(&mut memory, width, height, stride, format).unwrap();
        all.crop(x, y, w, h).unwrap().write_from(&values).unwrap();

        let mut want = before;
        for (i, v) in values.iter().enumerate() {
            let (c, at, row) = (i % 3, i / 3 % w, i / 3 / w);
            let o = offset(x + at, y + row, c);
            if floats {
                want[o..o + 4].copy_from_slice(&v.to_ne_bytes());
            } else {
                want[o] = (127.5 * v + 128.0) as u8;
                if format != PixelFormat::Rgb8 {
                    want[offset(x + at, y + row, 0).min(offset(x + at, y + row, 2)) + 3] = 255;
                }
            }
        }
        prop_assert_eq!(&memory, &want);

        let mut got = vec![0.0; w * h * 3];
        let view = View::new(&memory, width, height, stride, format).unwrap();
        view.crop(x, y, w, h).unwrap().read_into(&mut got, 0..h).unwrap();
        for (got, v) in got.iter().zip(&values) {
            let want = if floats { *v } else { f32::from((127.5 * v + 128.0) as u8) / 127.5 - 1.0 };
            prop_assert!((got - want).abs() <= if floats { 0.0 } else { 1e-6 }, "{got} {want}");
        }
    }
}
