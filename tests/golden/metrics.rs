//! Figures of small sets of features, against the implementations that papers are measured with.

use crate::common;
use fqgan::eval::{Moments, frechet, inception_score, precision_recall};
use fqgan::weights::{Map, Source};

/// Relative error.
const BOUND: f64 = 1e-4;

#[test]
fn of_features() {
    let source = Source::open(common::golden("metrics.safetensors"), Map::On).unwrap();
    let tensor = |name: &str| source.tensor(name).unwrap();
    let number = |key: &str| source.metadata(key).unwrap().parse::<f64>().unwrap();
    let check = |key: &str, found: f64| {
        let error = (found / number(key) - 1.0).abs();
        println!("{key}: {error:.1e}");
        assert!(error <= BOUND, "{key}: {found}, expected {}", number(key));
    };
    let (real, fake) = (tensor("real"), tensor("fake"));
    let dim = real.shape()[1];
    let gaussian = |features: &[f32]| {
        let mut moments = Moments::new(dim).unwrap();
        moments.push(features).unwrap();
        moments.gaussian().unwrap()
    };
    let (real, fake) = (real.data::<f32>().unwrap(), fake.data::<f32>().unwrap());
    check("fid", frechet(&gaussian(real), &gaussian(fake)).unwrap());
    let near = precision_recall(real, fake, dim, number("neighbours") as usize, 2).unwrap();
    check("precision", near.precision);
    check("recall", near.recall);
    let softmax = tensor("softmax");
    let split = number("split_size") as usize;
    let classes = softmax.shape()[1];
    check("inception_score", inception_score(softmax.data::<f32>().unwrap(), classes, split).unwrap().0);
}
