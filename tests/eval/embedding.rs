use fqgan::eval::{embed, silhouette};
use fqgan::rng::Stream;
use proptest::prelude::*;

/// Three heaps of points in five dimensions, far apart or not.
fn heaps(seed: u64, each: usize, apart: f32) -> (Vec<f32>, Vec<usize>) {
    let mut stream = Stream::new(seed, [0; 3]);
    let labels: Vec<usize> = (0..3 * each).map(|i| i % 3).collect();
    let points = labels
        .iter()
        .flat_map(|&label| (0..5).map(move |j| if j == label { apart } else { 0.0 }))
        .map(|centre| centre + stream.normal())
        .collect();
    (points, labels)
}

/// What was apart stays apart, and is drawn the same again.
#[test]
fn heaps_stay_heaps() {
    let (points, labels) = heaps(1, 20, 20.0);
    assert!(silhouette(&points, 5, &labels).unwrap() > 0.7);
    let places = embed(&points, 5, 7).unwrap();
    let flat: Vec<f32> = places.iter().flatten().copied().collect();
    assert!(silhouette(&flat, 2, &labels).unwrap() > 0.7, "{}", silhouette(&flat, 2, &labels).unwrap());
    assert_eq!(embed(&points, 5, 7).unwrap(), places);
    assert_ne!(embed(&points, 5, 8).unwrap(), places);
    // Where classes are names alone, they lie together nowhere.
    let (points, labels) = heaps(2, 20, 0.0);
    assert!(silhouette(&points, 5, &labels).unwrap().abs() < 0.1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// The definition, from a matrix of distances.
    #[test]
    fn silhouettes_by_definition(seed: u64, each in 1usize..6, apart in 0.0f32..4.0, alone: bool) {
        let (points, mut labels) = heaps(seed, each, apart);
        if alone {
            labels[0] = 7;
        }
        let rows: Vec<&[f32]> = points.chunks_exact(5).collect();
        let distance = |i: usize, j: usize| -> f64 {
            rows[i].iter().zip(rows[j]).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>().sqrt()
        };
        let mean = |i: usize, class: usize| -> Option<f64> {
            let own: Vec<f64> =
                (0..rows.len()).filter(|&j| j != i && labels[j] == class).map(|j| distance(i, j)).collect();
            (!own.is_empty()).then(|| own.iter().sum::<f64>() / own.len() as f64)
        };
        let score = |i: usize| -> f64 {
            let others = (0..8).filter(|&class| class != labels[i]).filter_map(|class| mean(i, class));
            let outside = others.fold(f64::INFINITY, f64::min);
            mean(i, labels[i]).map_or(0.0, |inside| (outside - inside) / inside.max(outside))
        };
        let wanted = (0..rows.len()).map(score).sum::<f64>() / rows.len() as f64;
        let found = silhouette(&points, 5, &labels).unwrap();
        prop_assert!((found - wanted).abs() < 1e-5, "{found} {wanted}");
    }
}

#[test]
fn refusals() {
    let said = |error: fqgan::Error| error.message().to_string();
    assert!(said(embed(&[0.0; 8], 2, 0).unwrap_err()).contains("4 points, expected at least 5"));
    assert!(said(embed(&[0.0; 9], 2, 0).unwrap_err()).contains("no rows of 2"));
    assert!(said(embed(&[f32::NAN; 10], 2, 0).unwrap_err()).contains("NaN"));
    assert!(said(silhouette(&[0.0; 8], 2, &[0; 4]).unwrap_err()).contains("of 1 classes"));
    assert!(said(silhouette(&[0.0; 8], 2, &[0, 1, 0]).unwrap_err()).contains("4 points and 3 labels"));
    assert_eq!(silhouette(&[1.0; 8], 2, &[0, 1, 0, 1]).unwrap(), 0.0);
}
