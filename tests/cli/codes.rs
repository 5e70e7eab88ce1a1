//! `fqgan-train codes`.

use crate::{Place, Ran};
use fqgan::train::codes::Stored;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn command(place: &Place, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fqgan-train"));
    command.current_dir(place.path("")).args(words.split_whitespace()).env("COLUMNS", "100");
    command
}

fn codes(place: &Place, words: &str) -> Ran {
    Ran::of(command(place, &format!("codes {words}")).output().unwrap())
}

fn stored(place: &Place, name: &str) -> Stored {
    Stored::open(place.path(name)).unwrap()
}

fn view(stored: &Stored, picture: usize, view: usize) -> Vec<u32> {
    let mut codes = vec![0; stored.about().view_len()];
    stored.codes(picture, view, &mut codes).unwrap();
    codes
}

/// Two classes of pictures, `n` each.
fn pictures(place: &Place, n: usize) {
    (0..n).for_each(|i| {
        place.picture(&format!("data/cat/{i:02}.png"), 40 + i, 50);
        place.picture(&format!("data/dog/{i:02}.png"), 64, 33 + i);
    });
}

/// The same codes as `fqgan encode` gives of the same picture, which is turned in its layout.
#[test]
fn codes_are_those_of_encode() {
    let place = Place::new();
    pictures(&place, 2);
    std::fs::write(place.path("data/dog/00b.png"), b"not a picture").unwrap();
    let ran = codes(&place, "-m model.safetensors -d data -o out/c.safetensors --views centre");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("left out: dog/00b.png:"), "{}", ran.err);
    assert!(ran.out.contains("4 pictures, 1 left out, 1 views of 2 x 8 x 8 codes"), "{}", ran.out);
    let stored = stored(&place, "out/c.safetensors");
    assert_eq!((stored.len(), stored.positions(), stored.k(), stored.codebook_size()), (4, (8, 8), 2, 200));
    assert_eq!(stored.about().classes, ["cat", "dog"]);
    for (picture, name) in ["cat/00", "cat/01", "dog/00", "dog/01"].into_iter().enumerate() {
        place.run(&format!("encode -m model.safetensors data/{name}.png -o one.fqc")).ended(0, &[]);
        let one = place.codes("one.fqc");
        let turned: Vec<u32> = (0..64).flat_map(|p| [one.data()[p], one.data()[64 + p]]).collect();
        assert_eq!(view(&stored, picture, 0), turned, "{name}");
        assert_eq!(stored.label(picture), u32::from(picture > 1));
    }
    // Ten views: the second five are of the mirror image, and the corners differ.
    codes(&place, "-m model.safetensors -d data -o ten.safetensors").code.unwrap();
    let ten = self::stored(&place, "ten.safetensors");
    assert_eq!(ten.augmentations(), 10);
    let all: std::collections::BTreeSet<Vec<u32>> = (0..10).map(|v| view(&ten, 3, v)).collect();
    assert!(all.len() > 5, "{} of 10 views differ", all.len());
}

#[test]
fn shards_are_the_whole() {
    let place = Place::new();
    pictures(&place, 4);
    let words = "-m model.safetensors -d data --views flip --size 16";
    assert_eq!(codes(&place, &format!("{words} -o whole.safetensors")).code, Some(0));
    for shard in 0..3 {
        let ran = codes(&place, &format!("{words} -o parts/{shard}.safetensors --shard {shard}/3"));
        assert_eq!(ran.code, Some(0), "{}", ran.err);
    }
    let (whole, parts) = (stored(&place, "whole.safetensors"), stored(&place, "parts"));
    assert_eq!((whole.len(), parts.len(), whole.about()), (8, 8, parts.about()));
    for i in 0..8 {
        assert_eq!(whole.label(i), parts.label(i));
        (0..2).for_each(|v| assert_eq!(view(&whole, i, v), view(&parts, i, v)));
    }
}

/// Killed at several moments, it goes on, and the file is the same to the byte.
#[test]
fn a_kill_is_survived() {
    let place = Place::new();
    pictures(&place, 5);
    // Views so large that a picture is written by itself.
    let words = "codes -m model.safetensors -d data --size 128 --views ten-crop --threads 1";
    let began = Instant::now();
    assert_eq!(codes(&place, &format!("{} -o whole.safetensors", &words[6..])).code, Some(0));
    let whole = began.elapsed();
    let mut kills = 0;
    while !place.path("cut.safetensors").exists() {
        let mut child = command(&place, &format!("{words} -o cut.safetensors"))
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Always long enough to come further.
        std::thread::sleep(whole / 4 + Duration::from_millis(7 * kills));
        kills += u64::from(child.try_wait().unwrap().is_none());
        let _ = child.kill();
        let ended = child.wait_with_output().unwrap();
        assert!(kills < 100, "{}", String::from_utf8_lossy(&ended.stderr));
    }
    assert!(kills > 0, "it was never killed");
    assert!(
        std::fs::read(place.path("cut.safetensors")).unwrap()
            == std::fs::read(place.path("whole.safetensors")).unwrap()
    );
    assert!(!place.path("cut.safetensors.part").exists());
}

fn npy(place: &Place, name: &str, shape: &[u64], numbers: &[i64]) {
    use npyz::WriterBuilder;
    let path = place.path(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = npyz::WriteOptions::new().default_dtype().shape(shape).writer(file).begin_nd().unwrap();
    writer.extend(numbers.iter().copied()).unwrap();
    writer.finish().unwrap();
}

#[test]
fn the_authors_codes() {
    let place = Place::new();
    let code = |i: usize, branch: usize, at: usize| ((i * 101 + branch * 7 + at) % 16384) as i64;
    for i in 0..12 {
        npy(&place, &format!("a/imagenet256_labels/{i}.npy"), &[1], &[i as i64 % 3]);
        for (b, branch) in ["vis", "sem"].into_iter().enumerate() {
            let all: Vec<i64> = (0..160).map(|at| code(i, b, at)).collect();
            npy(&place, &format!("a/imagenet256_codes/{i}_{branch}.npy"), &[1, 10, 16], &all);
        }
    }
    let ran = codes(&place, "--import a -o c.safetensors");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let stored = stored(&place, "c.safetensors");
    assert_eq!((stored.len(), stored.augmentations(), stored.positions(), stored.k()), (12, 10, (4, 4), 2));
    for (i, v) in [(0, 0), (3, 9), (11, 5)] {
        let wanted: Vec<u32> = (0..32).map(|at| code(i, at % 2, v * 16 + at / 2) as u32).collect();
        assert_eq!((view(&stored, i, v), stored.label(i)), (wanted, i as u32 % 3));
    }
    // What is wrong is named.
    let refused = |words: &str, says: &str| {
        let ran = codes(&place, words);
        assert_ne!(ran.code, Some(0), "{words}");
        assert!(ran.err.contains(says), "{words}: {}", ran.err);
    };
    refused("--import a -o d.safetensors --codebook-size 100", "is not in a codebook of 100");
    refused("--import a -o d.safetensors --codebooks vis,odd", "0_odd.npy");
    refused("--import data -o d.safetensors", "data");
    npy(&place, "a/imagenet256_codes/5_sem.npy", &[1, 10, 15], &[0; 150]);
    refused("--import a -o e.safetensors", "5_sem.npy: shape [1, 10, 15], expected 10 views of 16 codes");
    std::fs::write(place.path("a/imagenet256_codes/5_sem.npy"), b"\x93NUMPY").unwrap();
    refused("--import a -o e.safetensors", "5_sem.npy: no .npy file");
    std::fs::remove_file(place.path("a/imagenet256_labels/4.npy")).unwrap();
    refused("--import a -o e.safetensors", "4.npy is not there");
}

#[test]
fn mistakes_are_explained() {
    let place = Place::new();
    pictures(&place, 1);
    for (words, says) in [
        ("-m model.safetensors -o c.safetensors", "--data"),
        ("-m model.safetensors -d nowhere -o c.safetensors", "nowhere"),
        ("-m model.safetensors -d data -o c.safetensors --size 30", "positive multiples of 4"),
        ("-m model.safetensors -d data -o c.safetensors --views two", "expected centre, flip or ten-crop"),
        ("-m model.safetensors -d data -o c.safetensors --shard 2/2", "I from 0 and less than N"),
        ("-m model.safetensors -d data -o model.safetensors", "it is there already"),
        ("--import data -d data -o c.safetensors", "cannot be used with"),
    ] {
        let ran = codes(&place, words);
        assert_ne!(ran.code, Some(0), "{words}");
        assert!(ran.err.contains(says), "{words}: {}", ran.err);
    }
}
