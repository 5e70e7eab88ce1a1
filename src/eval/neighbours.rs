use super::rows;
use crate::error::{Error, Result};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// How far pictures are like real ones, and how many real ones have their like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbours {
    /// The share of the made pictures that lie among the real ones.
    pub precision: f64,
    /// The share of the real pictures that lie among the made ones.
    pub recall: f64,
}

/// Rows and columns of distances that are looked at together.
const BLOCK: usize = 256;

/// Improved precision and recall (Kynkäänniemi et al., 2019) of features (n, dim): a feature lies among others when
/// one of these is no further than its own k-th neighbour among them is. Distances are squared, and compared by <=.
///
/// Distances are made a block of 256 x 256 at a time, in f64, on `threads` threads (0: one a core); the same bits on
/// any number of them.
///
/// # Errors
/// `InvalidArgument` for parts of rows, numbers that are not finite, or no more than k features.
pub fn precision_recall(
    real: &[f32],
    made: &[f32],
    dim: usize,
    k: usize,
    threads: usize,
) -> Result<Neighbours> {
    let (of_real, of_made) = (rows("real features", real, dim)?, rows("features", made, dim)?);
    if k == 0 || of_real.min(of_made) <= k {
        return Err(Error::invalid(format!(
            "neighbour {k} among {of_real} real features and {of_made}: expected 1 or more, and more features"
        )));
    }
    let threads = if threads == 0 { num_cpus::get() } else { threads };
    let (real, made) = (Set::new(real, dim), Set::new(made, dim));
    let (real_radii, made_radii) = (real.radii(k, threads), made.radii(k, threads));
    Ok(Neighbours {
        precision: made.share_among(&real, &real_radii, threads),
        recall: real.share_among(&made, &made_radii, threads),
    })
}

/// Features, and the squared length of each.
struct Set<'a> {
    features: &'a [f32],
    dim: usize,
    lengths: Vec<f64>,
}

impl<'a> Set<'a> {
    fn new(features: &'a [f32], dim: usize) -> Set<'a> {
        let length = |row: &[f32]| row.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
        Set { features, dim, lengths: features.chunks_exact(dim).map(length).collect() }
    }

    fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Puts some rows, from `first` on, into columns, and tells how many.
    fn block(&self, first: usize, to: &mut Mat<f64>) -> usize {
        let n = BLOCK.min(self.len() - first);
        let rows = self.features[first * self.dim..].chunks_exact(self.dim).take(n);
        for (i, row) in rows.enumerate() {
            to.col_mut(i).iter_mut().zip(row).for_each(|(to, value)| *to = f64::from(*value));
        }
        n
    }

    /// What `see` makes of the distances of each row of ours to all of `others`: it is given the number of the first
    /// other, and the squared distances to it and those after it.
    fn each<T: Send>(
        &self,
        others: &Set<'_>,
        threads: usize,
        begin: impl Fn() -> T + Sync,
        see: impl Fn(&mut T, usize, usize, &[f64]) + Sync,
    ) -> Vec<T> {
        let next = AtomicUsize::new(0);
        let blocks = self.len().div_ceil(BLOCK);
        let work = || {
            let mut found = Vec::new();
            // Kept, as blocks that come and go between small results would tear the memory to pieces.
            let [mut ours, mut theirs] = [0; 2].map(|_| Mat::zeros(self.dim, BLOCK));
            let mut products = Mat::zeros(BLOCK, BLOCK);
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= blocks {
                    return found;
                }
                let first = number * BLOCK;
                let n = self.block(first, &mut ours);
                let mut states: Vec<T> = (0..n).map(|_| begin()).collect();
                for other in (0..others.len()).step_by(BLOCK) {
                    let m = others.block(other, &mut theirs);
                    // A column for each of ours.
                    let (left, right) = (theirs.subcols(0, m), ours.subcols(0, n));
                    let to = products.submatrix_mut(0, 0, m, n);
                    matmul(to, Accum::Replace, left.transpose(), right, -2.0, Par::Seq);
                    let products = products.submatrix(0, 0, m, n);
                    for (i, state) in states.iter_mut().enumerate() {
                        let lengths = &others.lengths[other..];
                        let mut distances = [0.0; BLOCK];
                        let of = products.col(i).iter().zip(lengths);
                        for (to, (product, length)) in distances.iter_mut().zip(of) {
                            *to = self.lengths[first + i] + length + product;
                        }
                        see(state, first + i, other, &distances[..m]);
                    }
                }
                found.push((number, states));
            }
        };
        let mut all: Vec<(usize, Vec<T>)> = thread::scope(|scope| {
            let workers: Vec<_> = (1..threads.min(blocks)).map(|_| scope.spawn(work)).collect();
            let mut all = work();
            for worker in workers {
                match worker.join() {
                    Ok(found) => all.extend(found),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            all
        });
        all.sort_by_key(|(number, _)| *number);
        all.into_iter().flat_map(|(_, states)| states).collect()
    }

    /// The squared distance of each to its k-th neighbour among the rest.
    fn radii(&self, k: usize, threads: usize) -> Vec<f64> {
        let nearest = self.each(self, threads, Vec::new, |nearest: &mut Vec<f64>, row, first, distances| {
            for (_, &distance) in distances.iter().enumerate().filter(|(i, _)| first + i != row) {
                if nearest.len() < k || distance < nearest[k - 1] {
                    let at = nearest.partition_point(|&d| d <= distance);
                    nearest.insert(at, distance);
                    nearest.truncate(k);
                }
            }
        });
        nearest.into_iter().map(|nearest| nearest[k - 1]).collect()
    }

    /// The share of ours that lies within the radius of one of the others.
    fn share_among(&self, others: &Set<'_>, radii: &[f64], threads: usize) -> f64 {
        let inside = self.each(
            others,
            threads,
            || false,
            |inside, _, first, distances| {
                *inside |= distances.iter().zip(&radii[first..]).any(|(distance, radius)| distance <= radius);
            },
        );
        inside.iter().filter(|inside| **inside).count() as f64 / self.len() as f64
    }
}
