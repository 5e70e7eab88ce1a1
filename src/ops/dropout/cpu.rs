use super::Dropout;
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::backend::cpu::{Cpu, Parts};
use crate::error::Result;
use crate::rng::philox4x32;
use crate::tensor::Tensor;

/// Elements a block where each is drawn by itself, a multiple of [`WORDS`].
const BLOCK: usize = 4096;
/// Words that are drawn together.
const WORDS: usize = 64;

pub(super) fn dropout(op: &Dropout, cpu: &Cpu, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let x = all[0].data::<f32>()?;
    let residual = all.get(1).map(|r| r.data::<f32>()).transpose()?;
    let draw = Draw {
        key: [op.seed as u32, (op.seed >> 32) as u32],
        place: op.place,
        least: (op.rate * 4_294_967_296.0) as u32,
        scale: (1.0 / (1.0 - op.rate)) as f32,
    };
    let parts = Parts::new(out.data_mut::<f32>()?);
    let step = if op.run == 1 { BLOCK } else { op.run };
    let begin = op.first(x.len() / op.run);
    cpu.pool.blocks(x.len().div_ceil(step), |_, block| {
        let range = block * step..x.len().min((block + 1) * step);
        // SAFETY: one part a block.
        let out = unsafe { parts.slice(range.clone()) };
        let (x, residual) = (&x[range.clone()], residual.map(|r| &r[range]));
        let first = begin + if op.run == 1 { block * step } else { block };
        cpu.isa.dispatch(Runs { draw, first, together: op.run > 1, x, residual, out });
    });
    Ok(())
}

#[derive(Clone, Copy)]
struct Draw {
    key: [u32; 2],
    place: [u32; 3],
    /// The first word that stays.
    least: u32,
    scale: f32,
}

impl Draw {
    /// What the elements of draws `4 * block..`, `blocks` times four of them, are multiplied with.
    #[inline(always)]
    fn factors(&self, block: usize, blocks: usize) -> [f32; WORDS + 4] {
        let [a, b, c] = self.place;
        let mut factors = [0.0; WORDS + 4];
        for (i, four) in factors.chunks_exact_mut(4).take(blocks).enumerate() {
            let words = philox4x32(self.key, [a, b, c, (block + i) as u32]);
            for (factor, word) in four.iter_mut().zip(words) {
                *factor = if word < self.least { 0.0 } else { self.scale };
            }
        }
        factors
    }
}

/// Some elements of draws from `first` on, or of the one draw `first`.
struct Runs<'a> {
    draw: Draw,
    first: usize,
    together: bool,
    x: &'a [f32],
    residual: Option<&'a [f32]>,
    out: &'a mut [f32],
}

impl Kernel for Runs<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let mut factors = [0.0; WORDS + 4];
        let mut within = 0;
        if self.together {
            factors = [self.draw.factors(self.first / 4, 1)[self.first % 4]; WORDS + 4];
        }
        for at in (0..self.x.len()).step_by(WORDS) {
            let count = WORDS.min(self.x.len() - at);
            if !self.together {
                // Where the first draw is not the first of its block, so is none: there is one block more.
                within = self.first % 4;
                factors = self.draw.factors((self.first + at) / 4, WORDS / 4 + usize::from(within > 0));
            }
            for i in (0..count).step_by(S::LANES) {
                let n = S::LANES.min(count - i);
                // SAFETY: `at + i + n` is at most the length of all three slices, `i + LANES <= WORDS` and `within < 4`.
                unsafe {
                    let v = S::load_up_to(self.x.as_ptr().add(at + i), n);
                    let factor = S::load(factors.as_ptr().add(within + i));
                    // Dropped is zero, whatever it was.
                    let mut v = S::select_gt(factor, S::splat(0.0), S::mul(v, factor), S::splat(0.0));
                    if let Some(residual) = self.residual {
                        v = S::add(v, S::load_up_to(residual.as_ptr().add(at + i), n));
                    }
                    S::store_up_to(self.out.as_mut_ptr().add(at + i), v, n);
                }
            }
        }
    }
}
