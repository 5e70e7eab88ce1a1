//! Resizing with the numbers of Pillow 10 to 13: weights in f64, rounded to 22 bits after the point, rows
//! first, a rounding to bytes, then columns. The pictures that models were trained and measured on were made
//! so, and codes turn on the last bit.

use super::Picture;
use crate::error::{Error, Result};

/// What a pixel of the new picture is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The mean of the pixels under it.
    Box,
    /// Cubic convolution, a = -0.5, widened when shrinking.
    Bicubic,
}

impl Filter {
    /// Half the width of the kernel, in pixels of the smaller grid.
    fn support(self) -> f64 {
        match self {
            Filter::Box => 0.5,
            Filter::Bicubic => 2.0,
        }
    }

    fn at(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        match self {
            Filter::Box if x > -0.5 && x <= 0.5 => 1.0,
            Filter::Box => 0.0,
            // Each expression in the order that Pillow rounds it.
            Filter::Bicubic => match x.abs() {
                x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
                x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
                _ => 0.0,
            },
        }
    }
}

impl Picture {
    /// The picture at another size.
    ///
    /// # Errors
    /// `InvalidArgument` when a side is 0 or too large to address, `OutOfMemory`.
    pub fn resize(&self, width: usize, height: usize, filter: Filter) -> Result<Picture> {
        // Sizes are checked before anything is computed.
        let mut out = Picture::new(width, height)?;
        let narrowed;
        let mut from = self;
        if width != self.width() {
            let mut next = Picture::new(width, self.height())?;
            let kernels = Kernels::new(self.width(), width, filter)?;
            for y in 0..self.height() {
                kernels.row(self.row(y), next.row_mut(y));
            }
            narrowed = next;
            from = &narrowed;
        }
        if height == from.height() {
            return Ok(from.clone());
        }
        let kernels = Kernels::new(from.height(), height, filter)?;
        let mut sums = Vec::new();
        sums.try_reserve_exact(width * 3).map_err(|_| no_memory(width))?;
        sums.resize(width * 3, 0);
        for y in 0..height {
            kernels.column(from, y, &mut sums, out.row_mut(y));
        }
        Ok(out)
    }

    /// The picture with its shorter side made `size`, as the models' authors do: halved (rounding down) by the
    /// box filter while the shorter side is at least twice `size`, then bicubic.
    ///
    /// # Errors
    /// As [`Picture::resize`].
    pub fn resize_shorter(&self, size: usize) -> Result<Picture> {
        let shorter = |p: &Picture| p.width().min(p.height());
        let mut halved = None;
        loop {
            let at = halved.as_ref().unwrap_or(self);
            if size == 0 || shorter(at) / 2 < size {
                break;
            }
            halved = Some(at.resize(at.width() / 2, at.height() / 2, Filter::Box)?);
        }
        let at = halved.as_ref().unwrap_or(self);
        let scale = size as f64 / shorter(at) as f64;
        let side = |n: usize| (n as f64 * scale).round_ties_even() as usize;
        at.resize(side(at.width()), side(at.height()), Filter::Bicubic)
    }

    /// The centre crop that the models are trained and measured on: [`Picture::resize_shorter`], then the
    /// `size x size` pixels in the middle.
    ///
    /// # Errors
    /// As [`Picture::resize`].
    pub fn center_crop(&self, size: usize) -> Result<Picture> {
        self.resize_shorter(size)?.center(size, size)
    }

    /// The `width x height` pixels in the middle; where the margins cannot be equal, the left or upper one is
    /// the smaller.
    ///
    /// # Errors
    /// `InvalidArgument` when the picture is smaller or a side is 0, `OutOfMemory`.
    pub fn center(&self, width: usize, height: usize) -> Result<Picture> {
        let margin = |all: usize, part: usize| all.saturating_sub(part) / 2;
        self.crop(margin(self.width(), width), margin(self.height(), height), width, height)
    }

    /// The `width x height` pixels whose upper left one is (x, y).
    ///
    /// # Errors
    /// `InvalidArgument` when they are none or not inside, `OutOfMemory`.
    pub fn crop(&self, x: usize, y: usize, width: usize, height: usize) -> Result<Picture> {
        self.view().crop(x, y, width, height)?;
        let mut out = Picture::new(width, height)?;
        for row in 0..height {
            out.row_mut(row).copy_from_slice(&self.row(y + row)[x * 3..][..width * 3]);
        }
        Ok(out)
    }
}

/// Bits after the point of a weight.
const PRECISION: u32 = 22;
const HALF: i32 = 1 << (PRECISION - 1);

/// For each pixel of an axis, the weights of the pixels it is made of.
struct Kernels {
    /// First pixel, and where its weights begin.
    begins: Vec<(usize, usize)>,
    weights: Vec<i32>,
}

impl Kernels {
    fn new(from: usize, to: usize, filter: Filter) -> Result<Kernels> {
        let scale = from as f64 / to as f64;
        let stretch = scale.max(1.0);
        let support = filter.support() * stretch;
        let mut kernels = Kernels { begins: Vec::new(), weights: Vec::new() };
        kernels.begins.try_reserve_exact(to).map_err(|_| no_memory(to))?;
        let mut kernel = Vec::new();
        for i in 0..to {
            let center = (i as f64 + 0.5) * scale;
            let first = (center - support + 0.5).max(0.0) as usize;
            let last = ((center + support + 0.5) as usize).min(from);
            kernel.clear();
            kernel.extend((first..last).map(|x| filter.at((x as f64 - center + 0.5) * (1.0 / stretch))));
            let sum: f64 = kernel.iter().sum();
            kernels.begins.push((first, kernels.weights.len()));
            kernels.weights.try_reserve(kernel.len()).map_err(|_| no_memory(to))?;
            kernels.weights.extend(kernel.iter().map(|w| {
                let fixed = w / sum * f64::from(1u32 << PRECISION);
                (fixed + 0.5f64.copysign(fixed)) as i32
            }));
        }
        Ok(kernels)
    }

    /// First pixel and weights of pixel `i`.
    fn of(&self, i: usize) -> (usize, &[i32]) {
        let (first, begin) = self.begins[i];
        let end = self.begins.get(i + 1).map_or(self.weights.len(), |next| next.1);
        (first, &self.weights[begin..end])
    }

    fn row(&self, from: &[u8], to: &mut [u8]) {
        let (from, to) = (from.as_chunks::<3>().0, to.as_chunks_mut::<3>().0);
        for (i, to) in to.iter_mut().enumerate() {
            let (first, weights) = self.of(i);
            let mut sums = [HALF; 3];
            for (pixel, weight) in from[first..].iter().zip(weights) {
                for c in 0..3 {
                    sums[c] += i32::from(pixel[c]) * weight;
                }
            }
            *to = sums.map(byte);
        }
    }

    fn column(&self, from: &Picture, y: usize, sums: &mut [i32], to: &mut [u8]) {
        let (first, weights) = self.of(y);
        sums.fill(HALF);
        for (i, weight) in weights.iter().enumerate() {
            for (sum, value) in sums.iter_mut().zip(from.row(first + i)) {
                *sum += i32::from(*value) * weight;
            }
        }
        to.iter_mut().zip(sums).for_each(|(to, sum)| *to = byte(*sum));
    }
}

fn byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

fn no_memory(size: usize) -> Error {
    Error::out_of_memory(format!("no memory to resize to {size} pixels"))
}
