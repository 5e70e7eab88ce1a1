use fqgan::Status;
use fqgan::image::{Filter, Picture};
use safetensors::SafeTensors;

/// Pillow's own results, to the byte: the centre crops of the photographs at 256 and 64.
#[test]
fn center_crop_is_pillows() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    let golden = std::fs::read(format!("{root}tests/golden/center_crop.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&golden).unwrap();
    for name in ["astronaut", "chelsea", "coffee"] {
        let photograph = Picture::load(format!("{root}assets/photographs/{name}.png")).unwrap();
        for size in [256, 64] {
            let want = golden.tensor(&format!("{name}_{size}")).unwrap();
            assert_eq!(want.shape(), [size, size, 3]);
            let got = photograph.center_crop(size).unwrap();
            let differ = got.pixels().iter().zip(want.data()).filter(|(a, b)| a != b).count();
            assert_eq!((got.width(), got.height(), differ), (size, size, 0), "{name} at {size}");
        }
    }
}

/// Odd sizes, enlarging, one pixel, one axis only. The checksums are of Pillow 13.0's `resize` of
/// `((i * 2654435761 >> 7) % 256 for i in range(w * h * 3))`.
#[test]
fn resize_is_pillows() {
    use Filter::{Bicubic, Box};
    for (w, h, width, height, filter, crc) in [
        (64, 48, 32, 24, Box, 0x388c3726),
        (65, 49, 32, 24, Box, 0x149dff2e),
        (7, 5, 3, 2, Box, 0x1d536be0),
        (5, 3, 11, 9, Box, 0x9b23ec25),
        (64, 48, 40, 31, Bicubic, 0x2f66c3c4),
        (64, 48, 97, 133, Bicubic, 0x6fdf595e),
        (31, 17, 31, 40, Bicubic, 0x94ed066b),
        (31, 17, 12, 17, Bicubic, 0x17a0972b),
        (1, 1, 5, 3, Bicubic, 0x395f5ed2),
        (2, 3, 1, 1, Bicubic, 0x50697098),
        (400, 3, 7, 1, Bicubic, 0x335e4b37),
        (300, 200, 299, 201, Bicubic, 0x67d107d4),
        (3, 3, 3, 3, Bicubic, 0xe6c89334),
    ] {
        let noise = (0..(w * h * 3) as u64).map(|i| ((i * 2654435761) >> 7) as u8).collect();
        let from = Picture::from_pixels(w, h, noise).unwrap();
        let to = from.resize(width, height, filter).unwrap();
        assert_eq!((to.width(), to.height()), (width, height));
        assert_eq!(crc32fast::hash(to.pixels()), crc, "{w} x {h} to {width} x {height}, {filter:?}");
    }
}

#[test]
fn crops_and_sizes() {
    let numbered = Picture::from_pixels(5, 4, (0..60).collect()).unwrap();
    let middle = numbered.center(2, 3).unwrap();
    assert_eq!(middle.pixels(), [3, 4, 5, 6, 7, 8, 18, 19, 20, 21, 22, 23, 33, 34, 35, 36, 37, 38]);
    assert_eq!(numbered.center(5, 4).unwrap(), numbered);
    for result in [
        numbered.center(6, 1),
        numbered.center(0, 1),
        numbered.crop(4, 0, 2, 1),
        numbered.crop(usize::MAX, 0, 1, 1),
        numbered.resize(0, 3, Filter::Box),
        numbered.resize(3, 0, Filter::Bicubic),
        numbered.resize(usize::MAX / 2, 3, Filter::Bicubic),
        numbered.center_crop(0),
    ] {
        assert_eq!(result.unwrap_err().status(), Status::InvalidArgument);
    }
    // Rounding of the longer side goes to even: 5 * 2 / 4 = 2.5.
    let small = numbered.resize_shorter(2).unwrap();
    assert_eq!((small.width(), small.height()), (2, 2));
    let large = numbered.resize_shorter(6).unwrap();
    assert_eq!((large.width(), large.height()), (8, 6));
}
