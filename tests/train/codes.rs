//! Stored codes: the file, and what is left of it after a kill; shards; the batches of a run.

use fqgan::Status;
use fqgan::image::Picture;
use fqgan::train::codes::{About, Batches, Stored, Views, Writer};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

fn about() -> About {
    About {
        classes: vec!["cat".into(), "dog \"x\"".into()],
        views: Views::Flip,
        height: 2,
        width: 3,
        branches: vec!["vis".into(), "sem".into()],
        codebook_size: 16384,
        shard: (0, 1),
        origin: "here".into(),
    }
}

fn codes(about: &About, picture: usize) -> Vec<u32> {
    (0..about.picture_len()).map(|i| ((picture * 7919 + i * 31) % about.codebook_size) as u32).collect()
}

fn write(path: &Path, about: &About, labels: &[u32]) {
    let mut writer = Writer::open(path, about, labels, 1).unwrap();
    let first = 100 * about.shard.0;
    (0..labels.len()).for_each(|i| writer.push(&[Some(codes(about, first + i))]).unwrap());
    writer.finish().unwrap();
}

fn refusal<T: std::fmt::Debug>(result: fqgan::Result<T>) -> String {
    result.unwrap_err().message().to_string()
}

#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    for (name, codebook_size) in [("a.safetensors", 65536), ("b.safetensors", 65537)] {
        let (path, about) = (folder.path().join(name), About { codebook_size, ..about() });
        let labels = [1, 0, 1, 1, 0];
        let mut writer = Writer::open(&path, &about, &labels, 2).unwrap();
        let of = |i| Some(codes(&about, i));
        writer.push(&[of(0), None]).unwrap();
        writer.push(&[of(2), of(3), of(4)]).unwrap();
        assert!(!path.exists());
        writer.finish().unwrap();

        let stored = Stored::open(&path).unwrap();
        assert_eq!(*stored.about(), about);
        let sizes =
            (stored.len(), stored.augmentations(), stored.positions(), stored.k(), stored.codebook_size());
        assert_eq!(sizes, (4, 2, (2, 3), 2, codebook_size));
        // One could not be read, and is not there.
        for (picture, was) in [0, 2, 3, 4].into_iter().enumerate() {
            assert_eq!(stored.label(picture), labels[was]);
            for view in 0..2 {
                let mut found = [0; 12];
                stored.codes(picture, view, &mut found).unwrap();
                assert_eq!(found, codes(&about, was)[view * 12..][..12]);
            }
        }
        // It is a safetensors file like any other.
        let bytes = std::fs::read(&path).unwrap();
        let peer = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let tensor = peer.tensor("codes").unwrap();
        let wanted = if codebook_size > 65536 { safetensors::Dtype::U32 } else { safetensors::Dtype::U16 };
        assert_eq!((tensor.dtype(), tensor.shape()), (wanted, [5, 2, 6, 2].as_slice()));
    }
}

/// Killed after any byte, the file that is made in the end is the same.
#[test]
fn a_kill_at_any_byte() {
    let folder = tempfile::tempdir().unwrap();
    let about = about();
    let labels: Vec<u32> = (0..8).map(|i| i % 2).collect();
    let of = |i: usize| (i != 3).then(|| codes(&about, i));
    let whole = folder.path().join("whole");
    let work = |path: &Path, until: usize| {
        let mut writer = Writer::open(path, &about, &labels, 2).unwrap();
        let begun = writer.done();
        while writer.done() < until {
            let next: Vec<_> = (writer.done()..8.min(writer.done() + 2)).map(of).collect();
            writer.push(&next).unwrap();
        }
        (begun, writer)
    };
    work(&whole, 8).1.finish().unwrap();
    let wanted = std::fs::read(&whole).unwrap();
    let part = folder.path().join("cut.part");
    let picture = 2 * about.picture_len();
    let first_code = wanted.len() - 8 * picture;
    for cut in (0..=wanted.len()).step_by(23) {
        // What a lost power may leave of the last call: room without bytes.
        let mut left = wanted[..cut].to_vec();
        let last_call = cut.saturating_sub(2 * picture).max(first_code.min(cut));
        left[last_call..].fill(0);
        std::fs::write(&part, left).unwrap();
        let path = folder.path().join("cut");
        let (begun, writer) = work(&path, 8);
        assert_eq!(begun, cut.saturating_sub(first_code + 2 * picture) / picture);
        writer.finish().unwrap();
        assert!(std::fs::read(&path).unwrap() == wanted, "cut at {cut}");
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn unfinished_files_of_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let about = about();
    let mut writer = Writer::open(&path, &about, &[0; 4], 1).unwrap();
    writer.push(&[Some(codes(&about, 0))]).unwrap();
    assert!(refusal(Writer::open(&path, &about, &[0; 4], 1)).contains("another process is writing it"));
    drop(writer);
    let other = About { origin: "there".into(), ..about.clone() };
    assert!(refusal(Writer::open(&path, &other, &[0; 4], 1)).contains("begun for other pictures"));
    assert!(refusal(Writer::open(&path, &about, &[0; 5], 1)).contains("begun for other pictures"));

    let mut writer = Writer::open(&path, &about, &[0; 4], 0).unwrap();
    assert_eq!(writer.done(), 1);
    assert!(refusal(writer.push(&[Some(vec![0; 3])])).contains("3 codes of a picture, expected 24"));
    assert!(refusal(writer.push(&[Some(vec![16384; 24])])).contains("code 16384 of a codebook of 16384"));
    assert!(refusal(writer.push(&[None, None, None, None])).contains("more than 4 pictures"));
    assert!(refusal(writer.finish()).contains("1 of 4 pictures"));
    std::fs::remove_file(folder.path().join("a.safetensors.part")).unwrap();
    write(&path, &about, &[0]);
    assert!(refusal(Writer::open(&path, &about, &[0], 1)).contains("it is there already"));
    let line = About { classes: vec!["a\nb".into()], ..about };
    assert!(refusal(Writer::open(folder.path().join("b"), &line, &[0], 1)).contains("end of a line"));
}

#[test]
fn shards() {
    let folder = tempfile::tempdir().unwrap();
    let path = |i| folder.path().join(format!("codes-{i}.safetensors"));
    let shard = |i, of| About { shard: (i, of), ..about() };
    let sizes: Vec<usize> = (0..3).map(|i| shard(i, 3).part(10).len()).collect();
    assert_eq!((sizes.iter().sum::<usize>(), shard(1, 3).part(10)), (10, 3..6));
    write(&path(2), &shard(1, 2), &[1, 0]);
    assert!(refusal(Stored::open(folder.path())).contains("shards 1 are there, expected each of 0 to 1"));
    write(&path(7), &shard(0, 2), &[0, 0, 1]);
    let stored = Stored::open(folder.path()).unwrap();
    let labels: Vec<u32> = (0..stored.len()).map(|i| stored.label(i)).collect();
    assert_eq!(labels, [0, 0, 1, 1, 0]);
    let mut found = [0; 12];
    stored.codes(3, 1, &mut found).unwrap();
    assert_eq!(found, codes(&about(), 100)[12..]);
    write(&path(8), &shard(1, 2), &[1]);
    assert!(refusal(Stored::open(folder.path())).contains("shards 0, 1, 1 are there"));
    std::fs::remove_file(path(8)).unwrap();
    write(&path(8), &About { origin: "there".into(), ..shard(1, 2) }, &[1]);
    assert!(refusal(Stored::open(folder.path())).contains("codes of other pictures, views or tokenizer"));
}

#[test]
fn files_that_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    assert!(refusal(Stored::open(folder.path())).contains("no .safetensors files"));
    let strings = |change: &dyn Fn(&mut BTreeMap<String, String>)| {
        let mut all: BTreeMap<String, String> = [
            ("codes", "1"),
            ("classes", "a\nb"),
            ("views", "flip"),
            ("grid_height", "1"),
            ("grid_width", "2"),
            ("branches", "vis"),
            ("codebook_size", "10"),
            ("shard", "0/1"),
            ("origin", ""),
        ]
        .map(|(k, v)| (format!("fqgan.{k}"), v.to_string()))
        .into();
        change(&mut all);
        all
    };
    let with = |labels: &[u32], shape: [usize; 4], codes: &[u16], strings: BTreeMap<String, String>| {
        use fqgan::tensor::Tensor;
        let labels = Tensor::from_slice([labels.len()], labels).unwrap();
        let codes = Tensor::from_slice(shape, codes).unwrap();
        fqgan::weights::save(&path, &[("labels", labels), ("codes", codes)], &strings).unwrap();
        Stored::open(&path)
    };
    let good = strings(&|_| {});
    assert_eq!(with(&[1], [1, 2, 2, 1], &[1, 2, 3, 4], good.clone()).unwrap().len(), 1);
    let set = |key: &str, value: &str| strings(&|all| drop(all.insert(format!("fqgan.{key}"), value.into())));
    for (key, value, said) in [
        ("codes", "2", "expected version 1"),
        ("views", "nine", "expected centre, flip or ten-crop"),
        ("grid_width", "0", "expected a positive number"),
        ("grid_width", "99999999999999", "expected a positive number"),
        ("grid_height", "4294967296", "too large to address"),
        ("codebook_size", "-4", "expected a positive number"),
        ("shard", "1/1", "expected I/N"),
        ("shard", "0/2", "1 of 2 shards"),
        ("branches", "vis\nsem", "tensor codes is u16 [1, 2, 2, 1], expected u16 [1, 2, 2, 2]"),
    ] {
        let both = if key == "grid_height" {
            strings(&|all| {
                all.insert("fqgan.grid_height".into(), value.into());
                all.insert("fqgan.grid_width".into(), value.into());
            })
        } else {
            set(key, value)
        };
        let text = refusal(with(&[1], [1, 2, 2, 1], &[1, 2, 3, 4], both));
        assert!(text.contains(said), "{key}: {text}");
    }
    let missing = strings(&|all| drop(all.remove("fqgan.views")));
    assert!(refusal(with(&[1], [1, 2, 2, 1], &[0; 4], missing)).contains("no file of codes"));
    assert!(refusal(with(&[2], [1, 2, 2, 1], &[0; 4], good.clone())).contains("is of class 2"));
    assert!(refusal(with(&[1, 1], [1, 2, 2, 1], &[0; 4], good.clone())).contains("tensor codes"));
    assert!(refusal(with(&[u32::MAX], [1, 2, 2, 1], &[0; 4], good.clone())).contains("codes of no picture"));
    let stored = with(&[1], [1, 2, 2, 1], &[1, 2, 10, 4], good).unwrap();
    let mut room = [0; 2];
    stored.codes(0, 0, &mut room).unwrap();
    let error = stored.codes(0, 1, &mut room).unwrap_err();
    assert!(error.status() == Status::Format && error.message().contains("code 10 of row 0"), "{error}");
}

/// Every epoch has each picture once, over the epochs every view, and a run that goes on sees what the whole one did.
#[test]
fn batches() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let about = About { views: Views::TenCrop, ..about() };
    let labels: Vec<u32> = (0..7).map(|i| i % 2).collect();
    write(&path, &about, &labels);
    let stored = Arc::new(Stored::open(&path).unwrap());
    let take = |batch, first, count: usize| {
        let mut batches = Batches::new(stored.clone(), batch, 5, false, first).unwrap();
        (0..count).map(|_| batches.next().unwrap()).collect::<Vec<_>>()
    };
    let mut seen = BTreeMap::new();
    for (epoch, batch) in take(7, 0, 200).iter().enumerate() {
        for (codes_, label) in batch.codes.chunks_exact(12).zip(&batch.labels) {
            let is = |&(i, view): &(usize, usize)| codes(&about, i)[view * 12..][..12] == *codes_;
            let all = (0..7).flat_map(|i| (0..10).map(move |view| (i, view)));
            let (picture, view) = all.clone().find(is).unwrap();
            assert_eq!(*label, labels[picture]);
            assert!(seen.insert((epoch, picture), view).is_none(), "twice in epoch {epoch}");
        }
    }
    assert_eq!(seen.len(), 1400);
    for picture in 0..7 {
        let views: BTreeSet<usize> = (0..200).map(|epoch| seen[&(epoch, picture)]).collect();
        assert_eq!(views.len(), 10, "picture {picture}");
    }
    let whole = take(3, 0, 20);
    assert_eq!(take(3, 9, 11), whole[9..]);
    // Order and batch do not depend on each other.
    let flat = |batches: Vec<fqgan::train::codes::Batch>| -> Vec<u32> {
        batches.into_iter().flat_map(|b| b.codes).collect()
    };
    assert_eq!(flat(take(6, 0, 10)), flat(whole));
    assert!(Batches::new(stored.clone(), 0, 0, false, 0).is_err());
    assert!(Batches::new(stored.clone(), 2, 0, false, u64::MAX).is_err());
    // Four pictures of one class and three of the other: as often.
    let mut balanced = Batches::new(stored, 8, 5, true, 0).unwrap();
    for _ in 0..20 {
        assert_eq!(balanced.next().unwrap().labels.iter().sum::<u32>(), 4);
    }
}

#[test]
fn views_of_a_picture() {
    // Every pixel tells its place.
    let mut picture = Picture::new(70, 70).unwrap();
    for y in 0..70 {
        (0..70).for_each(|x| picture.row_mut(y)[x * 3..][..3].copy_from_slice(&[x as u8, y as u8, 0]));
    }
    let corners = |square: &Picture| {
        let pixel = |x: usize, y: usize| [square.row(y)[x * 3], square.row(y)[x * 3 + 1]];
        assert_eq!((square.width(), square.height()), (64, 64));
        (pixel(0, 0), pixel(63, 63))
    };
    // int(1.1 * 64) = 70, so that the picture is taken as it is.
    let found: Vec<_> = Views::TenCrop.of(&picture, 64).unwrap().iter().map(corners).collect();
    let plain = [(0, 0), (6, 0), (0, 6), (6, 6), (3, 3)];
    let wanted = plain.map(|(x, y)| ([x, y], [x + 63, y + 63]));
    assert_eq!(found[..5], wanted);
    assert_eq!(found[5..], plain.map(|(x, y)| ([69 - x, y], [69 - x - 63, y + 63])));

    let middle = picture.center_crop(64).unwrap();
    assert_eq!(Views::Centre.of(&picture, 64).unwrap(), std::slice::from_ref(&middle));
    let mut mirrored = middle.clone();
    mirrored.mirror();
    assert_eq!(Views::Flip.of(&picture, 64).unwrap(), [middle, mirrored]);
    // 281 - 256 = 25, and half of it rounds to the even 12.
    let large = picture.resize(300, 300, fqgan::image::Filter::Bicubic).unwrap();
    let views = Views::TenCrop.of(&large, 256).unwrap();
    assert_eq!(views[4], large.center_crop(281).unwrap().crop(12, 12, 256, 256).unwrap());
    for views in Views::ALL {
        assert_eq!(Views::from_name(views.name()).unwrap(), views);
        assert_eq!(views.of(&large, 64).unwrap().len(), views.count());
    }
}
