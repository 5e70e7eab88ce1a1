//! A checkpoint as PyTorch before 1.6 wrote it (`torch.save(..., _use_new_zipfile_serialization=False)`), and what a
//! damaged one may not do.

use crate::common;
use fqgan::tensor::DType;
use fqgan::weights::{Format, Map, Source};
use std::sync::Arc;

fn bytes() -> Vec<u8> {
    std::fs::read(common::golden("legacy_style.pt")).unwrap()
}

fn floats(source: &Source, name: &str) -> Vec<f32> {
    source.tensor(name).unwrap().to_f32().unwrap().data::<f32>().unwrap().to_vec()
}

fn check(source: &Source) {
    let base: Vec<f32> = (0..24).map(|i| i as f32 / 8.0 - 1.0).collect();
    assert_eq!(floats(source, "plain.weight"), base);
    assert_eq!(floats(source, "shared.a"), base[6..18]);
    let turned: Vec<f32> = (0..24).map(|i| base[i % 4 * 6 + i / 4]).collect();
    assert_eq!(floats(source, "shared.turned"), turned);
    assert_eq!(source.tensor("shared.turned").unwrap().shape()[..], [6, 4]);
    assert_eq!(floats(source, "half.weight"), [0.0, 0.25, 0.5, 0.75, 1.0]);
    assert_eq!(floats(source, "brain.weight"), [-0.5, -0.25, 0.0, 0.25, 0.5]);
    assert_eq!(source.tensor("brain.weight").unwrap().dtype(), DType::BF16);
    assert_eq!(source.tensor("count").unwrap().data::<i64>().unwrap(), [7]);
    assert_eq!(floats(source, "p"), [1.5, -2.0]);
    let others = ["steps", "args"].map(String::from).to_vec();
    assert_eq!(source.format(), Format::Checkpoint { part: vec!["model".into()], others });
}

#[test]
fn it_opens_mapped_read_and_borrowed() {
    for map in [Map::On, Map::Off] {
        check(&Source::open(common::golden("legacy_style.pt"), map).unwrap());
    }
    for by in 0..4 {
        check(&Source::from_bytes(common::shifted(&bytes(), by)).unwrap());
    }
}

#[test]
fn damage_is_an_error_or_other_weights() {
    let whole = bytes();
    for end in 0..whole.len() {
        assert!(Source::from_bytes(Arc::new(whole[..end].to_vec())).is_err(), "cut at {end}");
    }
    for at in 0..whole.len() {
        for bit in [0x01, 0x80] {
            let mut bad = whole.clone();
            bad[at] ^= bit;
            if let Ok(source) = Source::from_bytes(Arc::new(bad)) {
                source.names().for_each(|name| drop(source.tensor(name)));
            }
        }
    }
    // What claims 2^40 elements ends after the file.
    let mut bad = whole.clone();
    let count = whole.windows(8).rposition(|w| w == 2u64.to_le_bytes()).unwrap();
    bad[count + 5] = 1;
    let told = Source::from_bytes(Arc::new(bad)).unwrap_err();
    assert!(told.message().contains("ends after the file"), "{told}");
}
