//! Philox against published vectors, and the numbers made of it.

use fqgan::rng::{Stream, philox4x32};

/// The known answers that come with Random123.
#[test]
fn published_vectors() {
    assert_eq!(philox4x32([0; 2], [0; 4]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
    assert_eq!(philox4x32([!0; 2], [!0; 4]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
    assert_eq!(
        philox4x32([0xa4093822, 0x299f31d0], [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344]),
        [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
    );
}

/// The layout that the documentation promises, so that another device can make the same stream.
#[test]
fn a_stream_is_the_blocks_of_its_place() {
    let seed = 0x299f31d0_a4093822;
    let mut stream = Stream::of_code(seed, 0x243f6a88, 0x85a308d3, 0x13198a2e);
    for block in 0..5 {
        for word in philox4x32([0xa4093822, 0x299f31d0], [0x243f6a88, 0x85a308d3, 0x13198a2e, block]) {
            assert_eq!(stream.word(), word);
        }
    }
    // 0x6627e8d5 >> 8 = 0x6627e8.
    assert_eq!(Stream::new(0, [0; 3]).uniform(), 0x6627e8 as f32 / 16777216.0);
}

#[test]
fn places_and_seeds_differ() {
    let first = |seed, a, b, c| Stream::of_code(seed, a, b, c).word();
    let words =
        [first(0, 0, 0, 0), first(1, 0, 0, 0), first(1 << 32, 0, 0, 0), first(0, 1, 0, 0), first(0, 0, 1, 0)];
    let words: std::collections::HashSet<u32> = words.into_iter().chain([first(0, 0, 0, 1)]).collect();
    assert_eq!(words.len(), 6);
}

/// Chi-square over 64 cells and the first moments; the bounds are 6 deviations, and the seeds are fixed.
#[test]
fn uniform_is_uniform() {
    let n = 1 << 16;
    let mut cells = [0u32; 64];
    for position in 0..n {
        let u = Stream::of_code(7, 3, position, 1).uniform();
        assert!((0.0..1.0).contains(&u));
        cells[(u * 64.0) as usize] += 1;
    }
    let expected = f64::from(n) / 64.0;
    let chi2: f64 = cells.iter().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum();
    assert!((63.0 - 6.0 * 126f64.sqrt()..63.0 + 6.0 * 126f64.sqrt()).contains(&chi2), "chi-square {chi2}");
}

#[test]
fn below_is_uniform_and_below() {
    for n in [1, 2, 3, 10, 1 << 31, (1 << 31) + 1, u32::MAX] {
        let mut stream = Stream::new(3, [n, 0, 0]);
        let mut cells = [0u32; 8];
        for _ in 0..4096 {
            let value = stream.below(n);
            assert!(value < n);
            cells[(u64::from(value) * 8 / u64::from(n)) as usize] += 1;
        }
        if n > 1000 {
            assert!(cells.iter().all(|&c| (f64::from(c) - 512.0).abs() < 160.0), "{n}: {cells:?}");
        }
    }
    assert_eq!(Stream::new(3, [0; 3]).below(0), 0);
}

#[test]
fn normal_is_normal() {
    let n = 1 << 16;
    let mut stream = Stream::new(11, [1, 2, 3]);
    let (mut sum, mut square, mut fourth, mut within) = (0.0, 0.0, 0.0, 0);
    for _ in 0..n {
        let x = f64::from(stream.normal());
        assert!(x.is_finite());
        sum += x;
        square += x * x;
        fourth += x.powi(4);
        within += i32::from(x.abs() < 1.0);
    }
    let n = f64::from(n);
    let deviations = 6.0 / n.sqrt();
    assert!((sum / n).abs() < deviations);
    assert!((square / n - 1.0).abs() < deviations * 2f64.sqrt());
    assert!((fourth / n - 3.0).abs() < deviations * 96f64.sqrt());
    assert!((f64::from(within) / n - 0.682_689_5).abs() < deviations * 0.4655);
}
