use super::{listed, open, picture, png, some, write};
use fqgan::Status;
use fqgan::train::data::{Augment, Crop, Loader, Pictures};

fn refusal(path: &std::path::Path) -> String {
    Pictures::open(path).unwrap_err().message().to_string()
}

#[test]
fn a_folder_for_each_class() {
    let folder = tempfile::tempdir().unwrap();
    let png = png(1);
    write(
        folder.path(),
        &[
            ("zebra/2.png", &png),
            ("zebra/10.PNG", &png),
            ("cat/deep/er/a.webp", &png),
            ("cat/b.JPEG", &png),
            ("cat/.hidden.png", &png),
            ("cat/._b.jpg", &png),
            ("cat/readme.txt", b"x"),
            (".git/c.png", &png),
            ("README.md", b"x"),
        ],
    );
    std::fs::create_dir(folder.path().join("emu")).unwrap();
    let pictures = open(folder.path());
    // One without pictures keeps its number.
    assert_eq!(pictures.classes(), ["cat", "emu", "zebra"]);
    let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect()
    };
    let wanted = own(&[
        ("cat/b.JPEG", "cat"),
        ("cat/deep/er/a.webp", "cat"),
        ("zebra/10.PNG", "zebra"),
        ("zebra/2.png", "zebra"),
    ]);
    assert_eq!(listed(&pictures), wanted);
    // What a file is, its first bytes say.
    assert_eq!(pictures.read(0).unwrap(), picture(1));
}

#[test]
fn labels_go_with_their_pictures() {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..12 {
        write(folder.path(), &[(&format!("{}/{i}.png", ["a", "b", "c"][i % 3]), &png(i))]);
    }
    let augment = Augment { side: 6, crop: Crop::Centre, flip: false };
    let mut loader = Loader::new(open(folder.path()), &augment, 12, 0, 0, 3).unwrap();
    let batch = loader.next().unwrap();
    let values = batch.pictures.data::<f32>().unwrap();
    for (square, label) in values.chunks_exact(108).zip(batch.labels) {
        let is = |&i: &usize| {
            let mut wanted = vec![0.0; 108];
            picture(i).center_crop(6).unwrap().view().read_into(&mut wanted, 0..6).unwrap();
            wanted == square
        };
        let number = (0..12).find(is).unwrap();
        assert_eq!(label as usize, number % 3);
    }
}

#[test]
fn a_folder_of_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("birds");
    some(&path, 3);
    let pictures = open(&path);
    assert_eq!(pictures.classes(), ["birds"]);
    assert_eq!(pictures.len(), 3);
    assert_eq!((pictures.name(2).as_ref(), pictures.label(2)), ("p002.png", 0));
}

#[test]
fn refusals() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let png = png(1);
    assert!(refusal(root).contains("no pictures there"));
    assert_eq!(Pictures::open(root.join("nowhere")).unwrap_err().status(), Status::Io);
    write(root, &[("one/a.png", &png), ("two/a/a.png", &png), ("two/b.png", &png), ("a.zip", b"PK")]);
    assert!(refusal(&root.join("a.zip")).contains("expected a folder, an .npz, or a tar"));
    assert!(refusal(&root.join("two")).contains("pictures beside folders"));
    write(root, &[("x.tar", b"")]);
    assert!(refusal(root).contains("tars beside folders or pictures"));
    std::fs::create_dir_all(root.join("empty/cat")).unwrap();
    assert!(refusal(&root.join("empty")).contains("no pictures there"));
}

#[cfg(unix)]
#[test]
fn links() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("all");
    write(folder.path(), &[("all/cat/a.png", &png(1)), ("elsewhere/b.png", &png(2))]);
    symlink(folder.path().join("elsewhere"), root.join("dog")).unwrap();
    symlink("nothing.png", root.join("cat/broken.png")).unwrap();
    let pictures = open(&root);
    assert_eq!(pictures.classes(), ["cat", "dog"]);
    assert_eq!(pictures.read(2).unwrap(), picture(2));
    let augment = Augment { side: 4, ..Augment::default() };
    let mut loader = Loader::new(pictures, &augment, 3, 0, 0, 1).unwrap();
    loader.next().unwrap();
    assert_eq!(loader.unreadable()[0].name, "cat/broken.png");
    symlink(&root, root.join("cat/back")).unwrap();
    assert!(refusal(&root).contains("does a link lead back"));
}
