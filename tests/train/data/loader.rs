use super::{open, picture, some, write};
use fqgan::Status;
use fqgan::train::data::{Augment, Crop, Loader, Order, Pictures};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;

const RANDOM: Augment = Augment { side: 6, crop: Crop::Random, flip: true };
const CENTRE: Augment = Augment { side: 6, crop: Crop::Centre, flip: false };

/// Bits and labels of some steps.
fn steps(
    pictures: &Arc<Pictures>,
    augment: &Augment,
    batch: usize,
    first: u64,
    count: usize,
    workers: usize,
) -> Vec<(Vec<f32>, Vec<u32>)> {
    let mut loader = Loader::new(pictures.clone(), augment, batch, 11, first, workers).unwrap();
    let step = |_| {
        let batch = loader.next().unwrap();
        (batch.pictures.data::<f32>().unwrap().to_vec(), batch.labels)
    };
    (0..count).map(step).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Every epoch has everything once, in an order of its own, wherever one begins to ask.
    #[test]
    fn an_order_is_a_permutation(seed: u64, len in 1usize..300, epoch in 0u64..1000) {
        let mut order = Order::new(seed, len).unwrap();
        let first = epoch * len as u64;
        let of_epoch: Vec<u32> = (0..len as u64).map(|i| {
            let place = order.place(first + i).unwrap();
            assert_eq!((u64::from(place.epoch), place.at), (epoch, i as usize));
            place.order[place.at]
        }).collect();
        let all: BTreeSet<u32> = of_epoch.iter().copied().collect();
        prop_assert!(all.len() == len && all.last() == Some(&(len as u32 - 1)));
        let mut other = Order::new(seed, len).unwrap();
        let last = first + len as u64 - 1;
        prop_assert_eq!(other.place(last).unwrap().order[len - 1], of_epoch[len - 1]);
        if len > 20 {
            let next = order.place(first + len as u64).unwrap();
            prop_assert!(next.order[..] != of_epoch[..], "two epochs alike");
            let place = Order::new(seed ^ 1, len).unwrap().place(first).unwrap();
            prop_assert!(place.order[..] != of_epoch[..], "two seeds alike");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A balanced epoch has as many of each class, and of a class no thing twice more than another.
    #[test]
    fn a_balanced_order(seed: u64, labels in proptest::collection::vec(0u32..5, 1..200), epoch in 0u64..100) {
        let mut order = Order::balanced(seed, &labels).unwrap();
        let classes: BTreeSet<u32> = labels.iter().copied().collect();
        let each = labels.len().div_ceil(classes.len());
        let place = order.place(epoch * (each * classes.len()) as u64).unwrap();
        prop_assert_eq!((u64::from(place.epoch), place.at), (epoch, 0));
        prop_assert_eq!(place.order.len(), each * classes.len());
        for class in classes {
            let of_class = (0..labels.len() as u32).filter(|&thing| labels[thing as usize] == class);
            let counts: Vec<usize> =
                of_class.map(|thing| place.order.iter().filter(|&&other| other == thing).count()).collect();
            prop_assert_eq!(counts.iter().sum::<usize>(), each);
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{:?}", counts);
        }
        let again = Order::balanced(seed, &labels).unwrap().place(place.order.len() as u64 * epoch).unwrap();
        prop_assert_eq!(&again.order[..], &place.order[..]);
    }
}

/// The place of the first and of every other thing is uniform: chi-square over 16 cells, 6 deviations.
#[test]
fn every_order_is_as_likely() {
    let mut cells = [[0u32; 16]; 16];
    let mut order = Order::new(5, 16).unwrap();
    for epoch in 0..4096 {
        let place = order.place(epoch * 16).unwrap();
        place.order.iter().enumerate().for_each(|(at, &thing)| cells[at][thing as usize] += 1);
    }
    for cell in cells {
        let chi2: f64 = cell.iter().map(|&c| (f64::from(c) - 256.0).powi(2) / 256.0).sum();
        assert!((0.0..15.0 + 6.0 * 30f64.sqrt()).contains(&chi2), "chi-square {chi2}");
    }
}

/// What is drawn stays what it was: a run that was begun by an older version goes on with the same pictures.
#[test]
fn the_first_order_of_seed_0() {
    let place = Order::new(0, 10).unwrap().place(0).unwrap();
    // From a second implementation of the page that rng.rs begins with.
    assert_eq!(place.order[..], [7, 4, 1, 6, 2, 9, 3, 0, 8, 5]);
}

#[test]
fn threads_and_resuming_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    some(folder.path(), 23);
    let pictures = open(folder.path());
    // Batches that do not divide an epoch, and one that is more than two.
    for batch in [1, 5, 50] {
        let whole = steps(&pictures, &RANDOM, batch, 0, 9, 1);
        for workers in [2, 3, 8] {
            assert!(steps(&pictures, &RANDOM, batch, 0, 9, workers) == whole, "{workers} workers");
        }
        for first in [1, 4, 8] {
            let rest = steps(&pictures, &RANDOM, batch, first, 9 - first as usize, 3);
            assert!(rest == whole[first as usize..], "from step {first}");
        }
    }
}

/// With the picture whole, an epoch shows each once; and the squares are those that the image module makes.
#[test]
fn an_epoch_shows_every_picture_once() {
    let folder = tempfile::tempdir().unwrap();
    some(folder.path(), 23);
    let pictures = open(folder.path());
    let mut wanted: Vec<Vec<u32>> = (0..23)
        .map(|i| {
            let mut values = vec![0.0; 108];
            picture(i).center_crop(6).unwrap().view().read_into(&mut values, 0..6).unwrap();
            values.into_iter().map(f32::to_bits).collect()
        })
        .collect();
    wanted.sort();
    for epoch in 0..3 {
        let one = &steps(&pictures, &CENTRE, 23, epoch, 1, 4)[0].0;
        let mut seen: Vec<Vec<u32>> =
            one.chunks_exact(108).map(|c| c.iter().map(|v| v.to_bits()).collect()).collect();
        seen.sort();
        assert!(seen == wanted);
    }
}

/// Crops are of every size and place that the paper's can be, and half the pictures are mirrored.
#[test]
fn crops_and_flips() {
    let side = 20;
    let augment = Augment { side, crop: Crop::Random, flip: false };
    // Of a ramp from left to right the crop's first column tells x, the slope the scale.
    let mut ramp = fqgan::image::Picture::new(25, 30).unwrap();
    for y in 0..30 {
        (0..25).for_each(|x| ramp.row_mut(y)[x * 3..][..3].fill((x * 10) as u8));
    }
    let (mut slopes, mut places) = (BTreeSet::new(), BTreeSet::new());
    for epoch in 0..400 {
        let square = augment.apply(&ramp, 1, epoch, 3).unwrap();
        assert_eq!((square.width(), square.height()), (side, side));
        assert_eq!(square, augment.apply(&ramp, 1, epoch, 3).unwrap());
        let row = square.row(7);
        slopes.insert((u32::from(row[15 * 3]) - u32::from(row[4 * 3])) * 10 / 11);
        places.insert(row[0]);
    }
    // Shorter sides of 20 to 25: slopes of 12.5 down to 10.
    assert!(slopes.first().is_some_and(|&s| (98..=101).contains(&s)), "{slopes:?}");
    assert!(slopes.last().is_some_and(|&s| (123..=128).contains(&s)), "{slopes:?}");
    assert!(places.len() >= 10, "{places:?}");

    let flips = Augment { side, crop: Crop::Centre, flip: true };
    let mirrored = |epoch| {
        let square = flips.apply(&ramp, 1, epoch, 3).unwrap();
        let row = square.row(0);
        row[0] > row[57]
    };
    let count = (0..1000).filter(|&e| mirrored(e)).count();
    assert!((420..580).contains(&count), "{count} of 1000");
}

#[test]
fn what_cannot_be_read_is_named_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    some(folder.path(), 10);
    let whole = super::png(3);
    let line = super::bytes(&fqgan::image::Picture::new(1, 400).unwrap());
    write(
        folder.path(),
        &[
            ("p003.png", &whole[..whole.len() / 2]),
            ("p004.png", b""),
            ("p005.png", b"no picture at all"),
            ("p006.png", &line),
        ],
    );
    let pictures = open(folder.path());
    let mut first = None;
    for workers in [1, 4] {
        let mut loader = Loader::new(pictures.clone(), &RANDOM, 10, 2, 0, workers).unwrap();
        let seen: Vec<f32> =
            (0..3).flat_map(|_| loader.next().unwrap().pictures.data::<f32>().unwrap().to_vec()).collect();
        let unreadable = loader.unreadable();
        let names: Vec<&str> = unreadable.iter().map(|u| u.name.as_str()).collect();
        assert_eq!(names, ["p003.png", "p004.png", "p005.png", "p006.png"]);
        assert!(unreadable[1].why.contains("an empty file"), "{}", unreadable[1].why);
        assert!(unreadable[3].why.contains("1 x 400"), "{}", unreadable[3].why);
        assert!(*first.get_or_insert(seen.clone()) == seen, "{workers} workers");
    }
    // The one that stands in: the next of the order.
    let order = Order::new(2, 10).unwrap().place(0).unwrap().order;
    let bad = |i: u32| (3..=6).contains(&i);
    let mut loader = Loader::new(pictures, &CENTRE, 10, 2, 0, 2).unwrap();
    let batch = loader.next().unwrap();
    for at in 0..10 {
        let next = (0..10).map(|k| order[(at + k) % 10]).find(|&i| !bad(i)).unwrap();
        let mut wanted = vec![0.0; 108];
        picture(next as usize).center_crop(6).unwrap().view().read_into(&mut wanted, 0..6).unwrap();
        assert!(batch.pictures.data::<f32>().unwrap()[at * 108..][..108] == wanted, "place {at}");
    }
}

#[test]
fn nothing_readable_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("a.png", b"x"), ("b.jpg", b"")]);
    let mut loader = Loader::new(open(folder.path()), &RANDOM, 4, 0, 0, 3).unwrap();
    for _ in 0..2 {
        let error = loader.next().unwrap_err();
        assert_eq!(error.status(), Status::InvalidArgument);
        assert!(error.message().contains("not one of 2 pictures can be read"), "{error}");
    }
    assert_eq!(loader.unreadable().len(), 2);
}

#[test]
fn a_loader_is_ended_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    some(folder.path(), 5);
    let pictures = open(folder.path());
    for taken in 0..4 {
        let mut loader = Loader::new(pictures.clone(), &RANDOM, 3, 0, 7, 4).unwrap();
        (0..taken).for_each(|_| drop(loader.next().unwrap()));
    }
    // No worker holds the pictures any more.
    assert_eq!(Arc::strong_count(&pictures), 1);
}

#[test]
fn refusals() {
    let folder = tempfile::tempdir().unwrap();
    some(folder.path(), 2);
    let pictures = open(folder.path());
    let new = |augment: &Augment, batch, step| {
        Loader::new(pictures.clone(), augment, batch, 0, step, 1).err().unwrap().message().to_string()
    };
    assert!(new(&Augment { side: 0, ..CENTRE }, 1, 0).contains("data.side is 0"));
    assert!(new(&CENTRE, 0, 0).contains("a batch of 0"));
    assert!(new(&CENTRE, 8, u64::MAX / 2).contains("past the end"));
    assert!(new(&CENTRE, 8, 1 << 40).contains("past the last epoch"));
    assert!(Order::new(0, 0).is_err());
}
