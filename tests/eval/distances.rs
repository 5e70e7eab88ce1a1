use fqgan::Status;
use fqgan::eval::{Gaussian, Moments, frechet, inception_score, precision_recall};
use fqgan::rng::Stream;
use proptest::prelude::*;

fn features(seed: u64, n: usize, dim: usize, shift: f32) -> Vec<f32> {
    let mut stream = Stream::new(seed, [0; 3]);
    (0..n * dim).map(|i| stream.normal() * (1.0 + (i % dim) as f32 * 0.1) + shift).collect()
}

fn moments(features: &[f32], dim: usize) -> Moments {
    let mut moments = Moments::new(dim).unwrap();
    moments.push(features).unwrap();
    moments
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Mean and covariance of plain loops in f64, in whatever parts the features come.
    #[test]
    fn moments_of_parts(seed: u64, dim in 1usize..12, n in 2usize..700, cut in 0usize..700, shift in prop::sample::select(vec![0.0f32, 1e3])) {
        let all = features(seed, n, dim, shift);
        let at = |i: usize, j: usize| f64::from(all[i * dim + j]);
        let mean: Vec<f64> = (0..dim).map(|j| (0..n).map(|i| at(i, j)).sum::<f64>() / n as f64).collect();
        let covariance = |j: usize, k: usize| {
            (0..n).map(|i| (at(i, j) - mean[j]) * (at(i, k) - mean[k])).sum::<f64>() / (n - 1) as f64
        };
        let (first, second) = all.split_at(cut.min(n) * dim);
        let mut merged = moments(first, dim);
        merged.merge(&moments(second, dim)).unwrap();
        for moments in [moments(&all, dim), merged] {
            prop_assert_eq!(moments.count(), n as u64);
            let gaussian = moments.gaussian().unwrap();
            for (j, wanted) in mean.iter().enumerate() {
                prop_assert!((gaussian.mean[j] - wanted).abs() <= 1e-12 * (1.0 + wanted.abs()));
                for k in 0..dim {
                    let (found, wanted) = (gaussian.covariance[(j, k)], covariance(j, k));
                    let scale = (covariance(j, j) * covariance(k, k)).sqrt();
                    prop_assert!((found - wanted).abs() <= 1e-10 * scale, "{} {}", found, wanted);
                }
            }
        }
    }

    /// Precision and recall by their definition, with duplicates, in one block and in several, on any number of threads.
    #[test]
    fn neighbours_by_definition(seed: u64, dim in 1usize..4, n in 5usize..40, m in 5usize..40, k in 1usize..5, large: bool) {
        let (n, m) = if large { (n + 250, m + 520) } else { (n, m) };
        // Whole numbers, so that distances are exact and equal ones are many.
        let whole = |seed, n| -> Vec<f32> { features(seed, n, dim, 0.0).iter().map(|v| (v * 3.0).round()).collect() };
        let (real, made) = (whole(seed, n), whole(seed ^ 1, m));
        let distance = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum() };
        let radii = |set: &[f32]| -> Vec<f64> {
            let rows: Vec<&[f32]> = set.chunks_exact(dim).collect();
            (0..rows.len()).map(|i| {
                let mut all: Vec<f64> = (0..rows.len()).filter(|&j| j != i).map(|j| distance(rows[i], rows[j])).collect();
                all.sort_by(f64::total_cmp);
                all[k - 1]
            }).collect()
        };
        let share = |of: &[f32], among: &[f32], radii: &[f64]| {
            let inside = |a: &&[f32]| among.chunks_exact(dim).zip(radii).any(|(b, r)| distance(a, b) <= *r);
            of.chunks_exact(dim).filter(inside).count() as f64 / (of.len() / dim) as f64
        };
        let found = precision_recall(&real, &made, dim, k, 1).unwrap();
        prop_assert_eq!(found.precision, share(&made, &real, &radii(&real)));
        prop_assert_eq!(found.recall, share(&real, &made, &radii(&made)));
        prop_assert_eq!(precision_recall(&real, &made, dim, k, 3).unwrap(), found);
    }
}

/// Distributions whose distance is known: of independent numbers, the sum over them of (difference of means)^2 +
/// (difference of deviations)^2, also after turning both by the same rotation.
#[test]
fn the_distance_of_known_distributions() {
    let (means, deviations) = ([[0.0f64, 1.0, -2.0], [0.5, 1.0, 1.0]], [[1.0f64, 2.0, 0.5], [3.0, 0.0, 0.5]]);
    let wanted: f64 = (0..3)
        .map(|j| (means[0][j] - means[1][j]).powi(2) + (deviations[0][j] - deviations[1][j]).powi(2))
        .sum();
    let (sin, cos) = 0.7f64.sin_cos();
    let turn = [[cos, -sin, 0.0], [0.6 * sin, 0.6 * cos, -0.8], [0.8 * sin, 0.8 * cos, 0.6]];
    let made = |which: usize| {
        let mean = (0..3).map(|i| (0..3).map(|j| turn[i][j] * means[which][j]).sum()).collect();
        let at = |i: usize, k: usize| -> f64 {
            (0..3).map(|j| turn[i][j] * deviations[which][j].powi(2) * turn[k][j]).sum()
        };
        let covariance: Vec<f64> = (0..9).map(|i| at(i / 3, i % 3)).collect();
        Gaussian::new(mean, &covariance).unwrap()
    };
    let (a, b) = (made(0), made(1));
    // The root of what rounding leaves of a deviation of 0.
    assert!((frechet(&a, &b).unwrap() - wanted).abs() < 1e-6, "{}", frechet(&a, &b).unwrap());
    assert!((frechet(&b, &a).unwrap() - wanted).abs() < 1e-6);
    assert!(frechet(&a, &a).unwrap().abs() < 1e-12);
}

#[test]
fn few_features_are_told() {
    let gaussian = moments(&features(1, 8, 8, 0.0), 8).gaussian().unwrap();
    assert!(gaussian.is_short());
    assert!(frechet(&gaussian, &gaussian).unwrap().abs() < 1e-6);
    assert!(!moments(&features(1, 9, 8, 0.0), 8).gaussian().unwrap().is_short());
}

#[test]
fn inception_scores() {
    // All of one class: 1. Each of a class of its own: as many as there are.
    let same = [0.0, 1.0, 0.0].repeat(7);
    assert_eq!(inception_score(&same, 3, 5000).unwrap(), (1.0, 0.0));
    let each: Vec<f32> = (0..16).map(|i| f32::from(i % 5 == 0)).collect();
    let (score, deviation) = inception_score(&each, 4, 4).unwrap();
    assert!((score - 4.0).abs() < 1e-12 && deviation == 0.0, "{score}");
    // Splits of two, the last of one picture.
    let (score, deviation) = inception_score(&each[..12], 4, 2).unwrap();
    assert!((score - 1.5).abs() < 1e-12 && (deviation - 0.5).abs() < 1e-12, "{score} {deviation}");
}

#[test]
fn refusals() {
    let good = features(3, 10, 4, 0.0);
    let mut bad = good.clone();
    bad[9] = f32::NAN;
    let said = |error: fqgan::Error| {
        assert_eq!(error.status(), Status::InvalidArgument);
        error.message().to_string()
    };
    let mut moments = Moments::new(4).unwrap();
    assert!(said(moments.push(&bad).unwrap_err()).contains("number 1 of row 2 is NaN"));
    assert!(said(moments.push(&good[1..]).unwrap_err()).contains("39 numbers are no rows of 4"));
    assert_eq!(moments.count(), 0);
    moments.push(&good[..4]).unwrap();
    assert!(said(moments.gaussian().unwrap_err()).contains("at least 2"));
    assert!(said(moments.merge(&Moments::new(5).unwrap()).unwrap_err()).contains("expected 4"));
    assert!(said(Moments::new(0).unwrap_err()).contains("expected 1 to 65536"));
    assert!(said(Gaussian::new(vec![0.0; 2], &[0.0; 3]).unwrap_err()).contains("no covariance of 2"));
    assert!(said(Gaussian::new(vec![f64::NAN], &[0.0]).unwrap_err()).contains("finite"));
    let (a, b) = (
        Gaussian::new(vec![0.0], &[1.0]).unwrap(),
        Gaussian::new(vec![0.0; 2], &[1.0, 0.0, 0.0, 1.0]).unwrap(),
    );
    assert!(said(frechet(&a, &b).unwrap_err()).contains("features of 1 and of 2"));
    assert!(said(precision_recall(&good, &bad, 4, 3, 1).unwrap_err()).contains("NaN"));
    assert!(
        said(precision_recall(&good, &good[..12], 4, 3, 1).unwrap_err()).contains("neighbour 3 among 10")
    );
    assert!(said(inception_score(&[0.5, -0.5], 2, 5).unwrap_err()).contains("class 1 of picture 0"));
    assert!(said(inception_score(&[], 2, 5).unwrap_err()).contains("0 pictures"));
    assert!(said(inception_score(&[0.5, 0.5], 2, 0).unwrap_err()).contains("splits of 0"));
}
