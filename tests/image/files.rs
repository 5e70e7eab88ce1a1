use fqgan::Status;
use fqgan::image::{Load, Picture};
use proptest::prelude::*;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/image/files/");

/// The picture that all the files hold: 16 x 12, smooth, so that lossy files come close.
fn rgb() -> Vec<u8> {
    (0..12).flat_map(|y| (0..16).flat_map(move |x| [x * 16, y * 20, (x + y) * 8])).collect()
}

fn grey() -> Vec<u8> {
    (0..12).flat_map(|y| (0..16).flat_map(move |x| [x * 10 + y * 5; 3])).collect()
}

fn load(name: &str) -> Picture {
    Picture::load(format!("{ROOT}{name}")).unwrap_or_else(|e| panic!("{e}"))
}

/// Largest difference of a byte.
fn off(name: &str, want: &[u8]) -> u8 {
    let picture = load(name);
    assert_eq!((picture.width(), picture.height()), (16, 12), "{name}");
    picture.pixels().iter().zip(want).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn every_kind_becomes_rgb() {
    for name in ["rgb.png", "alpha.png", "palette.png", "rgb16.png", "lossless.webp", "alpha.webp"] {
        assert_eq!(off(name, &rgb()), 0, "{name}");
    }
    for name in ["grey.png", "grey_alpha.png", "grey16.png"] {
        assert_eq!(off(name, &grey()), 0, "{name}");
    }
    let bits: Vec<u8> = (0..192).flat_map(|i| [(i % 16 + i / 16) as u8 % 2 * 255; 3]).collect();
    assert_eq!(off("bits.png", &bits), 0);
    // Pillow reads the last with an error of 14: its colours are halved in size.
    for (name, bound) in [("rgb.jpg", 4), ("progressive.jpg", 4), ("cmyk.jpg", 4), ("lossy.webp", 16)] {
        let off = off(name, &rgb());
        assert!(off <= bound, "{name} is off by {off}");
    }
    assert!(off("grey.jpg", &grey()) <= 4);
}

#[test]
fn of_an_animation_the_first_frame() {
    assert_eq!(off("animated.png", &rgb()), 0);
    assert_eq!(off("animated.webp", &rgb()), 0);
}

#[test]
fn orientation() {
    assert!(off("turned.jpg", &rgb()) <= 4);
    let as_stored = Load { upright: false, ..Load::default() };
    let picture = as_stored.file(format!("{ROOT}turned.jpg")).unwrap();
    assert_eq!((picture.width(), picture.height()), (12, 16));
}

fn refused(result: fqgan::Result<Picture>, status: Status, words: &[&str]) {
    let error = result.expect_err("should have been refused");
    assert_eq!(error.status(), status, "{error}");
    for word in words {
        assert!(error.message().contains(word), "{error:?} does not say {word:?}");
    }
}

#[test]
fn wrong_files_say_what_is_wrong() {
    let file = |name: &str| Picture::load(format!("{ROOT}{name}"));
    refused(file("other.gif"), Status::Format, &["other.gif", "PNG, JPEG or WebP"]);
    refused(file("none.png"), Status::Io, &["none.png"]);
    refused(Picture::load(ROOT), Status::Io, &["files"]);
    refused(file("bomb.png"), Status::Unsupported, &["bomb.png", "60000 x 60000"]);
    let load = Load::default();
    refused(load.decode(b""), Status::Format, &["empty"]);
    refused(load.decode(b"text"), Status::Format, &["PNG, JPEG or WebP"]);
    let small = Load { max_pixels: 191, ..load };
    for name in ["rgb.png", "rgb.jpg", "lossy.webp"] {
        let bytes = std::fs::read(format!("{ROOT}{name}")).unwrap();
        refused(small.decode(&bytes), Status::Unsupported, &["16 x 12", "191"]);
        refused(load.decode(&bytes[..bytes.len() - 20]), Status::Format, &["damaged"]);
        Load { max_pixels: 192, ..load }.decode(&bytes).unwrap();
    }
    // A name that lies does not matter.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jpg");
    std::fs::copy(format!("{ROOT}rgb.png"), &path).unwrap();
    assert_eq!(Picture::load(&path).unwrap().pixels(), rgb());
}

#[test]
fn saving() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    let picture = Picture::from_pixels(16, 12, rgb()).unwrap();
    picture.save_png(&path).unwrap();
    picture.save_png(&path).unwrap();
    assert_eq!(Picture::load(&path).unwrap(), picture);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    let nowhere = folder.path().join("no/a.png");
    let error = picture.save_png(&nowhere).unwrap_err();
    assert_eq!(error.status(), Status::Io);
    assert!(error.message().contains("no/a.png"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Damage anywhere gives an error or some picture of the allowed size, never a panic.
    #[test]
    fn damage(
        name in prop::sample::select(&[
            "rgb.png", "palette.png", "rgb16.png", "animated.png", "bits.png", "rgb.jpg", "progressive.jpg",
            "cmyk.jpg", "turned.jpg", "lossless.webp", "lossy.webp", "alpha.webp", "animated.webp",
        ][..]),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 0..6),
        cut in any::<prop::sample::Index>(),
        whether in any::<bool>(),
    ) {
        let mut bytes = std::fs::read(format!("{ROOT}{name}")).unwrap();
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        if whether {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(picture) = (Load { max_pixels: 1 << 20, ..Load::default() }).decode(&bytes) {
            prop_assert!(picture.width() * picture.height() <= 1 << 20);
        }
    }

    /// A JPEG that is cut anywhere is refused, not filled up in grey.
    #[test]
    fn cut_jpeg(
        name in prop::sample::select(&["rgb.jpg", "progressive.jpg", "cmyk.jpg", "grey.jpg", "turned.jpg"][..]),
        cut in any::<prop::sample::Index>(),
    ) {
        let bytes = std::fs::read(format!("{ROOT}{name}")).unwrap();
        let error = Load::default().decode(&bytes[..cut.index(bytes.len())]).unwrap_err();
        prop_assert_eq!(error.status(), Status::Format, "{}", error);
    }
}
