use super::{listed, open, picture, png, write};
use fqgan::Status;
use fqgan::train::data::Pictures;
use proptest::prelude::*;
use std::path::Path;
use tar::{Builder, EntryType, Header};

/// A tar of files.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A header whose name is taken as it is.
fn header(name: &[u8], size: u64, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_size(size);
    header.set_entry_type(kind);
    header.set_cksum();
    header
}

fn at(root: &Path, bytes: &[u8]) -> std::path::PathBuf {
    write(root, &[("x.tar", bytes)]);
    root.join("x.tar")
}

/// As ImageNet's training set comes: a tar of a tar for each class.
#[test]
fn a_tar_of_tars() {
    let folder = tempfile::tempdir().unwrap();
    let first = tar(&[("n01440764_10026.JPEG", &png(1)), ("n01440764_9.JPEG", &png(2))]);
    let second = tar(&[("n01443537_2.JPEG", &png(3))]);
    let whole = tar(&[("n01443537.tar", &second), ("notes.txt", b"x"), ("n01440764.tar", &first)]);
    let pictures = open(&at(folder.path(), &whole));
    assert_eq!(pictures.classes(), ["n01440764", "n01443537"]);
    let names = listed(&pictures);
    assert_eq!(names[0], ("x.tar/n01443537.tar/n01443537_2.JPEG".into(), "n01443537".into()));
    assert_eq!(names[2].1, "n01440764");
    for (i, number) in [3, 1, 2].into_iter().enumerate() {
        assert_eq!(pictures.read(i).unwrap(), picture(number));
    }
}

/// The same classes, however the pictures are packed.
#[test]
fn every_kind_of_shards() {
    let (a, b, c) = (png(1), png(2), png(3));
    let by_folder = |x: &str, y: &str| tar(&[(x, &a), (y, &b)]);
    let cases = [
        (
            "a tar a class, names say nothing",
            vec![("cat.tar", tar(&[("1.png", &a), ("2.png", &b)])), ("dog.tar", tar(&[("1.png", &c)]))],
        ),
        (
            "a tar a class, names say it too",
            vec![
                ("cat.tar", tar(&[("cat_1.png", &a), ("cat_2.png", &b)])),
                ("dog.tar", tar(&[("dog_1.png", &c)])),
            ],
        ),
        (
            "folders inside",
            vec![
                ("s0.tar", by_folder("./train/cat/1.png", "train/cat/2_x.png")),
                ("s1.tar", tar(&[("train/dog/1.png", &c)])),
            ],
        ),
        (
            "names only",
            vec![
                ("s0.tar", tar(&[("cat_1.png", &a), ("cat_2.png", &b)])),
                ("s1.tar", tar(&[("dog_1.png", &c), ("cat_1.txt", b"")])),
            ],
        ),
        (
            "names only, sorted",
            vec![
                ("s0.tar", tar(&[("cat_1.png", &a)])),
                ("s1.tar", tar(&[("cat_2.png", &b), ("dog_1.png", &c)])),
            ],
        ),
    ];
    for (what, shards) in cases {
        let folder = tempfile::tempdir().unwrap();
        shards.iter().for_each(|(name, bytes)| write(folder.path(), &[(name, bytes)]));
        let pictures = open(folder.path());
        // Where every tar has one beginning only, the tars are the classes.
        let wanted = if what == "names only" { ["s0", "s1"] } else { ["cat", "dog"] };
        assert_eq!(pictures.classes(), wanted, "{what}");
        assert_eq!([0, 1, 2].map(|i| pictures.label(i)), [0, 0, 1], "{what}");
        for i in 0..3 {
            assert_eq!(pictures.read(i).unwrap(), picture(i + 1), "{what}");
        }
    }
}

#[test]
fn long_names_and_a_missing_end() {
    let folder = tempfile::tempdir().unwrap();
    let long = format!("{}/{}.png", "d".repeat(200), "n".repeat(150));
    let mut bytes = tar(&[(&long, &png(1)), ("b/2.png", &png(2))]);
    // Two blocks of zeros end a tar; programs that append leave them out.
    bytes.truncate(bytes.len() - 1024);
    let pictures = open(&at(folder.path(), &bytes));
    assert_eq!(pictures.name(0), format!("x.tar/{long}"));
    assert_eq!(pictures.classes(), ["b", &"d".repeat(200)]);
    assert_eq!(pictures.read(1).unwrap(), picture(2));
}

/// Names lead nowhere: nothing is opened by them.
#[test]
fn names_that_climb() {
    let folder = tempfile::tempdir().unwrap();
    let png = png(1);
    let mut builder = Builder::new(Vec::new());
    for name in ["../../etc/a.png", "/root/b.png", "../c.png", "..", "/", ""] {
        let size = if name.ends_with("png") { png.len() as u64 } else { 0 };
        builder.append(&header(name.as_bytes(), size, EntryType::Regular), &png[..size as usize]).unwrap();
    }
    let mut link = header(b"link.png", 0, EntryType::Symlink);
    link.set_link_name("/etc/passwd").unwrap();
    link.set_cksum();
    builder.append(&link, &[][..]).unwrap();
    let pictures = open(&at(folder.path(), &builder.into_inner().unwrap()));
    assert_eq!(pictures.classes(), ["etc", "root", "x"]);
    assert_eq!(pictures.len(), 3);
    (0..3).for_each(|i| assert_eq!(pictures.read(i).unwrap(), picture(1)));
}

#[test]
fn damaged_tars() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |bytes: &[u8]| {
        let error = Pictures::open(at(folder.path(), bytes)).unwrap_err();
        assert!(error.message().starts_with(&folder.path().display().to_string()), "{error}");
        (error.status(), error.message().to_string())
    };
    let (status, said) = refused(b"not a tar, but more than a block of text. ".repeat(20).as_slice());
    assert!(status == Status::Format && said.contains("damaged after its beginning"), "{said}");
    assert!(refused(b"").1.contains("no pictures there"));
    assert!(refused(&[0; 1024]).1.contains("no pictures there"));

    let whole = tar(&[("a.png", &png(1)), ("b.png", &png(2))]);
    let (status, said) = refused(&whole[..512 + 20]);
    assert!(status == Status::Format && said.contains("cut short: a.png"), "{said}");
    let (_, said) = refused(&whole[..whole.len() - 1024 - 512 - 300]);
    assert!(said.contains("damaged after a.png") || said.contains("cut short: b.png"), "{said}");

    // Sizes that are negative, in the numbers of base 256, or reach round.
    for size in [[0xff; 12], [0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]] {
        let mut bad = header(b"a.png", 0, EntryType::Regular);
        bad.as_old_mut().size = size;
        bad.set_cksum();
        let (status, said) = refused(&[bad.as_bytes().as_slice(), &[0; 2048]].concat());
        assert!(
            status == Status::Format && (said.contains("cut short") || said.contains("overflow")),
            "{said}"
        );
    }
    let mut minus = header(b"a.png", 0, EntryType::Regular);
    minus.as_old_mut().size = *b"-0000000001\0";
    minus.set_cksum();
    assert_eq!(refused(minus.as_bytes()).0, Status::Format);

    // A name of two megabytes.
    let mut long = header(b"././@LongLink", 2 << 20, EntryType::GNULongName).as_bytes().to_vec();
    long.resize(512 + (2 << 20), b'a');
    assert!(refused(&long).1.contains("a header of more than"));

    let mut nested = tar(&[("a.png", &png(1))]);
    (0..4).for_each(|_| nested = tar(&[("t.tar", &nested)]));
    assert!(refused(&nested).1.contains("more than 4 deep"));
    let inner = tar(&[("a.png", &png(1))]);
    let (_, said) = refused(&tar(&[("t.tar", &inner[..512 + 60])]));
    assert!(said.contains("x.tar/t.tar: cut short: a.png"), "{said}");
}

/// A picture that is damaged or larger than any is not the tar's fault.
#[test]
fn a_bad_picture_in_a_tar() {
    let folder = tempfile::tempdir().unwrap();
    let good = png(1);
    let pictures =
        open(&at(folder.path(), &tar(&[("a.png", &good[..40]), ("b.png", &good), ("c.png", b"")])));
    let said = |i| pictures.read(i).unwrap_err().message().to_string();
    assert!(said(0).starts_with("x.tar/a.png: damaged png"), "{}", said(0));
    assert!(said(2).contains("an empty file"));
    assert_eq!(pictures.read(1).unwrap(), picture(1));
    // A hole of 2 GB, which takes no place on the disk.
    let path = folder.path().join("x.tar");
    std::fs::write(&path, header(b"d.png", 2 << 30, EntryType::Regular).as_bytes()).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(512 + (2 << 30)).unwrap();
    let error = Pictures::open(&path).unwrap().read(0).unwrap_err();
    assert_eq!(error.status(), Status::Unsupported);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Bytes changed anywhere: an error or an index whose pictures are read or refused, never a panic.
    #[test]
    fn any_damage_is_survived(changes in proptest::collection::vec((0usize..8192, any::<u8>()), 1..6), cut in 0usize..9000) {
        let folder = tempfile::tempdir().unwrap();
        let inner = tar(&[("c_1.png", &png(1)), ("d_2.png", &png(2))]);
        let mut bytes = tar(&[("a.png", &png(3)), ("t.tar", &inner)]);
        let len = bytes.len();
        changes.iter().for_each(|(at, byte)| bytes[at % len] = *byte);
        bytes.truncate(cut.max(1));
        if let Ok(pictures) = Pictures::open(at(folder.path(), &bytes)) {
            (0..pictures.len()).for_each(|i| drop(pictures.read(i)));
        }
    }
}
