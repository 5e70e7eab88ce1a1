use crate::backend::cpu::simd::{Kernel, Simd};
use std::mem::MaybeUninit;

/// Products that are summed before the sum is stored: a panel of b that long fits the first cache.
const DEPTH: usize = 192;
/// Columns of a panel at most: two of the widest vectors.
const PANEL: usize = 32;

/// c (m, n) = a b, or c + a b. Element (i, l) of a stands at `i * a_row + l * a_depth`, so that a may be turned or
/// a part of something; rows of b and c are contiguous. Each element is summed in the order of l, in runs of
/// [`DEPTH`], whatever the extents.
///
/// Whoever runs it vouches that the pointers are valid for these extents, and that nobody else has c.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Product {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: *const f32,
    pub a_row: usize,
    pub a_depth: usize,
    pub b: *const f32,
    pub b_row: usize,
    pub c: *mut f32,
    pub c_row: usize,
    pub add: bool,
}

impl Kernel for Product {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let width = 2 * S::LANES;
        let mut panel = [const { MaybeUninit::<f32>::uninit() }; DEPTH * PANEL];
        let panel = panel.as_mut_ptr().cast::<f32>();
        if self.k == 0 && !self.add {
            for i in 0..self.m {
                // SAFETY: row i of c has n elements.
                unsafe { std::slice::from_raw_parts_mut(self.c.add(i * self.c_row), self.n).fill(0.0) };
            }
        }
        for from in (0..self.k).step_by(DEPTH) {
            let depth = DEPTH.min(self.k - from);
            let add = self.add || from > 0;
            for left in (0..self.n).step_by(width) {
                let n = width.min(self.n - left);
                let (low, high) = (n.min(S::LANES), n.saturating_sub(S::LANES));
                // SAFETY: the panel has room for DEPTH rows of `width <= PANEL`; rows of b and c have n elements
                // from `left` on; rows i..i + R of a and c exist.
                unsafe {
                    for l in 0..depth {
                        let b = self.b.add((from + l) * self.b_row + left);
                        S::store(panel.add(l * width), S::load_up_to(b, low));
                        let upper =
                            if high > 0 { S::load_up_to(b.add(S::LANES), high) } else { S::splat(0.0) };
                        S::store(panel.add(l * width + S::LANES), upper);
                    }
                    let a = self.a.add(from * self.a_depth);
                    let mut i = 0;
                    while i < self.m {
                        let a = a.add(i * self.a_row);
                        let c = self.c.add(i * self.c_row + left);
                        // As many rows as the level has registers for.
                        i += match self.m - i {
                            8.. if S::LANES == 16 => self.tile::<S, 8>(a, panel, c, depth, [low, high], add),
                            4.. => self.tile::<S, 4>(a, panel, c, depth, [low, high], add),
                            _ => self.tile::<S, 1>(a, panel, c, depth, [low, high], add),
                        };
                    }
                }
            }
        }
    }
}

impl Product {
    /// R rows of two vectors; returns R.
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize>(
        &self,
        a: *const f32,
        panel: *const f32,
        c: *mut f32,
        depth: usize,
        [low, high]: [usize; 2],
        add: bool,
    ) -> usize {
        // SAFETY: the caller's.
        unsafe {
            let mut sums = [[S::splat(0.0); 2]; R];
            for l in 0..depth {
                let b =
                    [S::load(panel.add(l * 2 * S::LANES)), S::load(panel.add(l * 2 * S::LANES + S::LANES))];
                let a = a.add(l * self.a_depth);
                for (r, sum) in sums.iter_mut().enumerate() {
                    let x = S::splat(*a.add(r * self.a_row));
                    *sum = [S::fma(x, b[0], sum[0]), S::fma(x, b[1], sum[1])];
                }
            }
            for (r, sum) in sums.into_iter().enumerate() {
                let c = c.add(r * self.c_row);
                for (half, n) in [low, high].into_iter().enumerate().filter(|(_, n)| *n > 0) {
                    let c = c.add(half * S::LANES);
                    let sum = if add { S::add(S::load_up_to(c, n), sum[half]) } else { sum[half] };
                    S::store_up_to(c, sum, n);
                }
            }
        }
        R
    }
}
