//! Figures of small sets of features, against the implementations that papers are measured with.

use crate::common;
use crate::teachers::formula;
use fqgan::backend::Device;
use fqgan::backend::cpu::Cpu;
use fqgan::eval::{
    Alone, Crowd, Judges, Measuring, Moments, Study, Wanted, frechet, inception_score, precision_recall,
    study,
};
use fqgan::exec::Eager;
use fqgan::image::Picture;
use fqgan::teachers::{Inception, Lpips};
use fqgan::tensor::Tensor;
use fqgan::tokenizer::{Grid, Options, Tokenizer};
use fqgan::weights::{Map, Source};
use std::sync::Arc;

#[path = "../common/tiny.rs"]
#[allow(dead_code)]
mod tiny;

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

const PHOTOGRAPHS: [&str; 2] = ["astronaut_256.png", "chelsea_256.png"];

const WANTED: Wanted = Wanted { features: true, spatial: true, classes: true };

fn see(crowd: &mut Crowd, e: &Eager<'_>, inception: &Inception, picture: Picture) {
    crowd.push(&Crowd::look(e, inception, &[picture], WANTED).unwrap()).unwrap();
}

/// Pictures one by one: the mean of the golden features, the score of the golden logits.
#[test]
fn of_a_crowd() {
    let device = Device::Cpu(Arc::new(Cpu::new(0).unwrap()));
    let workspace = device.workspace(None);
    let e = Eager::new(&device, &workspace);
    let inception = Inception::open(&formula("fid_inception_v3")).unwrap();
    let mut crowd = Crowd::new(WANTED).unwrap();
    for name in PHOTOGRAPHS {
        see(&mut crowd, &e, &inception, Picture::load(common::golden(name)).unwrap());
    }
    let golden = Source::open(common::golden("teachers.safetensors"), Map::On).unwrap();
    let rows = |name: &str| -> Vec<Vec<f64>> {
        let tensor = golden.tensor(name).unwrap();
        let wide = |row: &[f32]| row.iter().map(|&v| f64::from(v)).collect();
        tensor.data::<f32>().unwrap().chunks_exact(tensor.shape()[1]).map(wide).collect()
    };
    let features = rows("inception_pool3");
    let (gaussian, spatial) = crowd.gaussians().unwrap();
    assert_eq!(spatial.unwrap().mean.len(), 17 * 17 * 7);
    assert!(gaussian.is_short());
    for (i, found) in gaussian.mean.iter().enumerate() {
        let wanted = 0.5 * (features[0][i] + features[1][i]);
        assert!((found - wanted).abs() < 1e-5 * (1.0 + wanted.abs()), "{found}, expected {wanted}");
    }
    let softmax: Vec<f32> = rows("inception_logits_without_bias")
        .iter()
        .flat_map(|row| {
            let sum: f64 = row.iter().map(|l| l.exp()).sum();
            row.iter().map(move |l| (l.exp() / sum) as f32).collect::<Vec<_>>()
        })
        .collect();
    let wanted = inception_score(&softmax, Inception::CLASSES, 5000).unwrap().0;
    assert!((crowd.score(5000).unwrap().0 / wanted - 1.0).abs() < BOUND);
}

/// What `Measuring` says of LPIPS and rFID, against the same networks asked one by one.
#[test]
fn of_reconstructions() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::Cpu(Arc::new(Cpu::new(0).unwrap()));
    let weights = Source::open(tiny::tokenizer(folder.path()), Map::On).unwrap();
    let tokenizer = Tokenizer::open(&device, &weights, &Options::default()).unwrap();
    let vgg = formula("lpips_vgg16");
    let judges = Judges {
        lpips: Some(Lpips::open(&vgg, &vgg).unwrap()),
        inception: Some(Inception::open(&formula("fid_inception_v3")).unwrap()),
    };
    let mut measuring = Measuring::new(&device, &tokenizer, &judges, 64).unwrap();
    let read = |i: usize| Picture::load(common::golden(PHOTOGRAPHS[i]));
    assert_eq!(study(&mut measuring, 2, read, None, &Alone, |_, _| Ok(())).unwrap().0.pictures, 2);
    assert!(measuring.take(&[0; 12]).unwrap_err().message().contains("an entry of 12 bytes"));
    let found = measuring.finish().unwrap();

    let workspace = device.workspace(None);
    let e = Eager::new(&device, &workspace);
    let (mut before, mut after) = (Crowd::new(WANTED).unwrap(), Crowd::new(WANTED).unwrap());
    let mut distance = 0.0;
    for name in PHOTOGRAPHS {
        let original = Picture::load(common::golden(name)).unwrap().center_crop(64).unwrap();
        let mut codes = vec![0; 2 * 16 * 16];
        tokenizer.encode_into(&[original.view()], &mut codes).unwrap();
        let mut back = Picture::new(64, 64).unwrap();
        let grid = Grid { height: 16, width: 16 };
        tokenizer.decode_into(&codes, grid, 0, &mut [back.view_mut()]).unwrap();
        let tensor = |picture: &Picture| {
            let mut values = vec![0.0; 64 * 64 * 3];
            picture.view().read_into(&mut values, 0..64).unwrap();
            Tensor::from_slice([1, 64, 64, 3], &values).unwrap()
        };
        let lpips = judges.lpips.as_ref().unwrap();
        let others = lpips.features(&e, &tensor(&original)).unwrap();
        let each = lpips.distance(&e, &tensor(&back), &others).unwrap();
        distance += f64::from(each.data::<f32>().unwrap()[0]) / 2.0;
        let inception = judges.inception.as_ref().unwrap();
        see(&mut before, &e, inception, original);
        see(&mut after, &e, inception, back);
    }
    let near =
        |found: f64, wanted: f64| assert!((found / wanted - 1.0).abs() < 1e-5, "{found}, expected {wanted}");
    near(found.lpips.unwrap(), distance);
    near(
        found.rfid.unwrap(),
        frechet(&before.gaussians().unwrap().0, &after.gaussians().unwrap().0).unwrap(),
    );
    near(found.inception_score.unwrap().0, after.score(5000).unwrap().0);
    assert!(found.too_few_for_rfid && found.pictures == 2);
}
