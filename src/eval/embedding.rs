use super::rows;
use crate::error::{Error, Result};
use crate::rng::Stream;

/// The largest neighbourhood that points are arranged by.
const PERPLEXITY: f32 = 30.0;
const EPOCHS: usize = 1000;

/// Points (n, dim) in the plane, so that near ones stay near: t-SNE (van der Maaten and Hinton, 2008), exact, of a
/// perplexity of 30, or (n - 1) / 3 of few points. It begins at small random places that follow from the seed, and gives
/// the same bits on any machine with the same floating point.
///
/// # Errors
/// `InvalidArgument` for parts of points, numbers that are not finite, or fewer than 5 points; `OutOfMemory` when the
/// system gives no thread.
pub fn embed(points: &[f32], dim: usize, seed: u64) -> Result<Vec<[f32; 2]>> {
    let n = rows("points", points, dim)?;
    if n < 5 {
        return Err(Error::invalid(format!("{n} points, expected at least 5 to arrange")));
    }
    let mut stream = Stream::new(seed, [0; 3]);
    let begin: Vec<f32> = (0..2 * n).map(|_| stream.normal() * 1e-4).collect();
    let points: Vec<&[f32]> = points.chunks_exact(dim).collect();
    // One thread: sums of several would come in any order.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.map_err(|e| Error::out_of_memory(format!("no thread to arrange points: {e}")))?;
    let found = pool.install(|| {
        let apart = |a: &&[f32], b: &&[f32]| a.iter().zip(*b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
        bhtsne::tSNE::<f32, &[f32], 2>::new(&points)
            .perplexity(PERPLEXITY.min((n - 1) as f32 / 3.0))
            .epochs(EPOCHS)
            .initial_embedding(begin)
            .exact(apart)
            .embedding()
    });
    Ok(found.as_chunks::<2>().0.to_vec())
}

/// How well points (n, dim) of a class lie together and apart from others: the mean over points of (b - a) / max(a, b),
/// where a is a point's mean distance to its class's others, b the least mean distance to another class (Rousseeuw,
/// 1987); 0 for a point that is alone in its class. From -1 to 1; about 0 where classes say nothing.
///
/// # Errors
/// `InvalidArgument` for parts of points, another number of labels, numbers that are not finite, or fewer than two
/// classes.
pub fn silhouette(points: &[f32], dim: usize, labels: &[usize]) -> Result<f64> {
    let n = rows("points", points, dim)?;
    let classes = labels.iter().max().map_or(0, |most| most + 1);
    let mut sizes = vec![0usize; classes];
    labels.iter().for_each(|&label| sizes[label] += 1);
    if n != labels.len() || sizes.iter().filter(|&&size| size > 0).count() < 2 {
        return Err(Error::invalid(format!(
            "{n} points and {} labels of {} classes, expected a label each, of two classes or more",
            labels.len(),
            sizes.iter().filter(|&&size| size > 0).count()
        )));
    }
    let point = |i: usize| &points[i * dim..(i + 1) * dim];
    let mut total = 0.0;
    for (i, &own) in labels.iter().enumerate() {
        let mut sums = vec![0.0; classes];
        for (j, &label) in labels.iter().enumerate() {
            let square: f64 =
                point(i).iter().zip(point(j)).map(|(a, b)| f64::from(a - b) * f64::from(a - b)).sum();
            sums[label] += square.sqrt();
        }
        if sizes[own] < 2 {
            continue;
        }
        let inside = sums[own] / (sizes[own] - 1) as f64;
        let outside = (0..classes)
            .filter(|&class| class != own && sizes[class] > 0)
            .map(|class| sums[class] / sizes[class] as f64)
            .fold(f64::INFINITY, f64::min);
        let most = inside.max(outside);
        total += if most > 0.0 { (outside - inside) / most } else { 0.0 };
    }
    Ok(total / n as f64)
}
