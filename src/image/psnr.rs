use super::Picture;

/// Peak signal-to-noise ratio of two pictures of one size, in dB; infinite when they are equal.
pub fn psnr(a: &Picture, b: &Picture) -> f64 {
    let square = |(a, b): (&u8, &u8)| f64::from(a.abs_diff(*b)).powi(2);
    let mean = a.pixels().iter().zip(b.pixels()).map(square).sum::<f64>() / a.pixels().len() as f64;
    -10.0 * (mean / (255.0 * 255.0)).log10()
}
