//! `fqgan sample`.

use crate::generator::{generator, place_with};
use fqgan::image::Picture;
use fqgan::npz::{Npz, Rows};

const SAMPLE: &str = "sample -g far.safetensors -m model.safetensors --seed 5";

#[test]
fn the_same_pictures_however_they_are_split() {
    let place = place_with(&generator());
    let run = |more: &str| place.run(&format!("{SAMPLE} --count 7 {more}"));
    run("--class 3,5 --batch 2 -o all.npz").ended(0, &["7 pictures"]);
    let rows = |name: &str| Rows::open(&Npz::open(place.path(name)).unwrap(), "arr_0").unwrap();
    let all = rows("all.npz");
    assert_eq!((all.count(), all.shape()), (7, &[32usize, 32, 3][..]));
    let read = |rows: &Rows| (0..rows.count()).map(|i| rows.read(i).unwrap()).collect::<Vec<_>>();
    let wanted = read(&all);
    assert!((1..7).all(|i| wanted[i] != wanted[0]), "each has its own random numbers");

    // In parts, in other batches, as files, and by the other command.
    run("--class 3,5 --shard 0/2 -o parts/0.npz").ended(0, &["3 pictures"]);
    run("--class 3,5 --shard 1/2 --batch 3 -o parts/1.npz").ended(0, &["4 pictures"]);
    let both = [read(&rows("parts/0.npz")), read(&rows("parts/1.npz"))].concat();
    assert_eq!(both, wanted);
    run("--class 3,5 -o files").ended(0, &["7 pictures"]);
    for (i, wanted) in wanted.iter().enumerate() {
        let picture = Picture::load(place.path(&format!("files/{}_{i:06}.png", [3, 5][i % 2]))).unwrap();
        assert_eq!(picture.pixels(), wanted);
    }
    place.run("generate -g far.safetensors -m model.safetensors --class 3 --seed 5 -o one.png").ended(0, &[]);
    assert_eq!(Picture::load(place.path("one.png")).unwrap().pixels(), wanted[0]);

    // All classes, equally often; NumPy's reader finds both arrays.
    place.run(&format!("{SAMPLE} --count 12 -o classes.npz")).ended(0, &["12 pictures"]);
    let mut zip = zip::ZipArchive::new(std::fs::File::open(place.path("classes.npz")).unwrap()).unwrap();
    let npy = npyz::NpyFile::new(zip.by_name("arr_1.npy").unwrap()).unwrap();
    assert_eq!(npy.into_vec::<i64>().unwrap(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]);
}

#[test]
fn kills_are_survived() {
    let place = place_with(&generator());
    let run = |more: &str| place.run(&format!("{SAMPLE} --count 6 --class 1 --batch 2 {more}"));
    run("-o whole.npz").ended(0, &[]);
    let whole = std::fs::read(place.path("whole.npz")).unwrap();
    let rows = Rows::open(&Npz::open(place.path("whole.npz")).unwrap(), "arr_0").unwrap();
    // Of a run that was killed there are four rows and part of a fifth; the last two are not trusted.
    let mut part = npyz_header(&[6, 32, 32, 3]);
    (0..2).for_each(|i| part.extend(rows.read(i).unwrap()));
    part.extend([7; 2 * 3072 + 100]);
    std::fs::write(place.path("cut.npz.part"), part).unwrap();
    run("-o cut.npz").ended(0, &["4 pictures", "2 were there"]);
    assert_eq!(std::fs::read(place.path("cut.npz")).unwrap(), whole);
    assert!(!place.path("cut.npz.part").exists());

    run("-o files").ended(0, &[]);
    let file = place.path("files/1_000002.png");
    let before = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    run("-o files").ended(0, &["1 pictures", "5 were there"]);
    assert_eq!(std::fs::read(&file).unwrap(), before);

    run("-o cut.npz").ended(1, &["it is there already"]);
    std::fs::write(place.path("other.npz.part"), npyz_header(&[5, 32, 32, 3])).unwrap();
    run("-o other.npz").ended(1, &["another number or size of pictures"]);
}

/// The bytes before the elements of an array of bytes.
fn npyz_header(shape: &[u64]) -> Vec<u8> {
    use npyz::WriterBuilder;
    let mut bytes = Vec::new();
    npyz::WriteOptions::<u8>::new().default_dtype().shape(shape).writer(&mut bytes).begin_nd().unwrap();
    bytes
}

#[test]
fn mistakes_are_explained() {
    let place = place_with(&generator());
    let run = |more: &str| place.run(&format!("{SAMPLE} {more}"));
    run("--count 0 -o a.npz").ended(2, &["--count"]);
    run("--count 4 --shard 2/2 -o a.npz").ended(2, &["I less than N"]);
    run("--count 4 --class 10 -o a.npz").ended(1, &["class 10", "0 to 9"]);
    place.run("sample -g far.safetensors --count 4 -o a.npz").ended(2, &["--model"]);
    assert!(!place.path("a.npz").exists());
}
