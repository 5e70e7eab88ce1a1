/// Writes x / max(|x|, 1e-12), as PyTorch's `normalize` does, and returns |x|, taken in f64. `None`, with
/// nothing useful written, when x holds a NaN or an infinity.
pub fn unit(x: &[f32], out: &mut [f32]) -> Option<f64> {
    let norm = x.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
    if !norm.is_finite() {
        return None;
    }
    let inverse = 1.0 / norm.max(1e-12);
    out.iter_mut().zip(x).for_each(|(o, &v)| *o = (f64::from(v) * inverse) as f32);
    Some(norm)
}
