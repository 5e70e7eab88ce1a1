//! Weight matrices in bytes: each row is its largest magnitude times numbers from -127 to 127 over 127.
//!
//! In a file, the bytes (n, k) stand under the matrix's name as I8, and the rows' scales (n), what a unit is
//! worth, under the name with `.scale` behind it, as F32.

use crate::error::{Error, Result};
use crate::tensor::{Allocate, DType, Desc, HeapAllocator, Tensor};
use std::thread;

/// Elements that are worth a thread.
const PIECE: usize = 1 << 18;

/// The name of a matrix's scales.
pub fn scale_name(matrix: &str) -> String {
    format!("{matrix}.scale")
}

/// The matrix (n, k) in bytes, and the scales (n) of its rows: `byte * scale` is the element, rounded to the
/// nearest of 255 values.
///
/// # Errors
/// `InvalidArgument` for other than two axes, and where an element is not finite; `Unsupported` for a type that is
/// no float; `OutOfMemory`.
pub fn quantize(matrix: &Tensor) -> Result<(Tensor, Tensor)> {
    let [n, k] =
        matrix.shape().dims().ok_or_else(|| Error::invalid(format!("{}: expected (n, k)", matrix.desc())))?;
    let wide = matrix.to_f32()?;
    let from = wide.data::<f32>()?;
    let make = |desc: Desc| Tensor::new(desc, HeapAllocator.allocate(desc.bytes().unwrap_or(usize::MAX))?);
    let mut bytes = make(Desc::plain([n, k], DType::I8))?;
    let mut scales = make(Desc::plain([n], DType::F32))?;
    if k == 0 {
        return Ok((bytes, scales));
    }
    let (to, scale) = (bytes.data_mut::<i8>()?, scales.data_mut::<f32>()?);
    let threads = thread::available_parallelism().map_or(1, usize::from).min(from.len() / PIECE).max(1);
    let rows = n.div_ceil(threads).max(1);
    let parts = from.chunks(rows * k).zip(to.chunks_mut(rows * k)).zip(scale.chunks_mut(rows));
    let all_finite = thread::scope(|scope| {
        let started: Vec<_> =
            parts.map(|((from, to), scale)| scope.spawn(move || quantize_rows(from, to, scale, k))).collect();
        // A panic of a part is passed on.
        started.into_iter().all(|part| part.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause)))
    });
    if all_finite { Ok((bytes, scales)) } else { Err(Error::invalid("not all elements are finite")) }
}

/// Whether all elements are finite.
fn quantize_rows(from: &[f32], to: &mut [i8], scale: &mut [f32], k: usize) -> bool {
    let mut all_finite = true;
    for ((from, to), scale) in from.chunks_exact(k).zip(to.chunks_exact_mut(k)).zip(scale) {
        let largest = from.iter().fold(0.0f32, |a, b| a.max(b.abs()));
        all_finite &= from.iter().fold(0.0, |sum, x| sum + x * 0.0) == 0.0;
        *scale = largest / 127.0;
        // Of a row that is almost nothing, the inverse would be infinite.
        let inverse = if *scale >= f32::MIN_POSITIVE { 1.0 / *scale } else { 0.0 };
        for (to, x) in to.iter_mut().zip(from) {
            // The magic number rounds to nearest even, and leaves the integer in the low bits.
            let rounded = (x * inverse).clamp(-127.0, 127.0) + 12_582_912.0;
            *to = rounded.to_bits() as i8;
        }
    }
    all_finite
}
