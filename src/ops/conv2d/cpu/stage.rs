//! Pixels into scratch: padded, up-sampled, normalised.

use super::Job;
use crate::backend::cpu::Values;
use crate::backend::cpu::simd::{Lanes, Simd, math};
use half::bf16;

/// A rectangle of the padded picture: `rows` x `cols` pixels from (y, x), which may be negative or beyond.
#[derive(Clone, Copy)]
pub struct Patch {
    pub image: usize,
    pub y: isize,
    pub x: isize,
    pub rows: usize,
    pub cols: usize,
    /// 1 where the picture is x up-sampled, else 0.
    pub up: u32,
}

impl Job<'_> {
    /// The rectangle that `rows` x `cols` outputs from (y, x) on are computed from.
    pub fn patch(&self, image: usize, [y, x]: [usize; 2], [rows, cols]: [usize; 2]) -> Patch {
        let g = &self.g;
        Patch {
            image,
            // Geometry checked that the padded extents fit.
            y: (y * g.stride) as isize - g.top as isize,
            x: (x * g.stride) as isize - g.left as isize,
            rows: (rows - 1) * g.stride + g.r,
            cols: (cols - 1) * g.stride + g.s,
            up: g.up,
        }
    }

    /// Writes the channels `first..first + count` of a patch to `to`, `step` elements a pixel.
    ///
    /// # Safety
    /// That of [`Simd`]; `to` must hold `rows * cols * step` elements, `count <= step`, and the channels exist.
    #[inline(always)]
    pub unsafe fn stage<S: Simd, O: Lanes>(
        &self,
        patch: &Patch,
        first: usize,
        count: usize,
        to: *mut O,
        step: usize,
    ) {
        // SAFETY: the caller's.
        unsafe {
            match self.x {
                Values::F32(x) => self.stage_of::<S, f32, O>(x, patch, [first, count], to, step),
                Values::Bf16(x) => self.stage_of::<S, bf16, O>(x, patch, [first, count], to, step),
            }
        }
    }

    /// # Safety
    /// As of [`Job::stage`].
    #[inline(always)]
    unsafe fn stage_of<S: Simd, T: Lanes, O: Lanes>(
        &self,
        x: &[T],
        patch: &Patch,
        [first, count]: [usize; 2],
        to: *mut O,
        step: usize,
    ) {
        let g = &self.g;
        let image = &x[patch.image * g.h * g.w * g.c..][..g.h * g.w * g.c];
        let coefficients = self.coefficients.map(|all| all[patch.image * 2 * g.c..][..2 * g.c].as_ptr());
        // SAFETY: pixels are read only where they lie inside the picture; the rest is the caller's.
        unsafe {
            for row in 0..patch.rows {
                let to = to.add(row * patch.cols * step);
                let y = patch.y + row as isize;
                if y < 0 || y as usize >= g.h << patch.up {
                    zero(to, patch.cols, count, step);
                    continue;
                }
                let from = image.as_ptr().add((y as usize >> patch.up) * g.w * g.c + first);
                for col in 0..patch.cols {
                    let to = to.add(col * step);
                    let x = patch.x + col as isize;
                    if x < 0 || x as usize >= g.w << patch.up {
                        zero(to, 1, count, step);
                        continue;
                    }
                    let from = from.add((x as usize >> patch.up) * g.c);
                    match coefficients {
                        None => copy::<S, T, O>(from, to, count),
                        Some(p) if self.silu => affine::<S, T, O, true>(from, to, count, p.add(first), g.c),
                        Some(p) => affine::<S, T, O, false>(from, to, count, p.add(first), g.c),
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn zero<O: Lanes>(to: *mut O, pixels: usize, count: usize, step: usize) {
    for pixel in 0..pixels {
        // SAFETY: the caller's; all bits zero is the element zero.
        unsafe { std::ptr::write_bytes(to.add(pixel * step), 0, count) };
    }
}

#[inline(always)]
unsafe fn copy<S: Simd, T: Lanes, O: Lanes>(from: *const T, to: *mut O, count: usize) {
    for i in (0..count).step_by(S::LANES) {
        let n = S::LANES.min(count - i);
        // SAFETY: the caller's; `i + n <= count`.
        unsafe { O::store_n::<S>(to.add(i), T::load_n::<S>(from.add(i), n), n) };
    }
}

/// x * scale + shift, the shift `c` floats after the scale, then SiLU or not.
#[inline(always)]
unsafe fn affine<S: Simd, T: Lanes, O: Lanes, const SILU: bool>(
    from: *const T,
    to: *mut O,
    count: usize,
    coefficients: *const f32,
    c: usize,
) {
    let mut i = 0;
    // SAFETY: the caller's.
    unsafe {
        while i < count {
            let n = S::LANES.min(count - i);
            let scale = S::load_up_to(coefficients.add(i), n);
            let shift = S::load_up_to(coefficients.add(c + i), n);
            let v = S::fma(T::load_n::<S>(from.add(i), n), scale, shift);
            let v = if SILU { math::silu::<S>(v) } else { v };
            O::store_n::<S>(to.add(i), v, n);
            i += n;
        }
    }
}
