use crate::error::{Error, Result};
use crate::image::Picture;

/// Side of the windows.
const WINDOW: usize = 7;

/// The structural similarity (Wang et al., 2004) of two pictures of one size, as scikit-image computes it by default:
/// means of windows of 7 x 7 that lie inside, variances divided by 48, the mean over windows and channels.
///
/// `range` is the data range of pixels in [0, 1]. It is 1; the paper's authors, as others before them, say 2, which gives
/// larger figures.
///
/// # Errors
/// `InvalidArgument` when the sizes differ or a side is less than 7, or the range is not positive.
pub fn ssim(a: &Picture, b: &Picture, range: f64) -> Result<f64> {
    let (width, height) = (a.width(), a.height());
    if (width, height) != (b.width(), b.height()) {
        return Err(Error::invalid(format!(
            "SSIM of {width} x {height} pixels beside {} x {}: expected one size",
            b.width(),
            b.height()
        )));
    }
    if width.min(height) < WINDOW {
        return Err(Error::invalid(format!(
            "SSIM of {width} x {height} pixels: expected at least {WINDOW} a side"
        )));
    }
    if !(range > 0.0 && range.is_finite()) {
        return Err(Error::invalid(format!("SSIM with a data range of {range}, expected more than 0")));
    }
    let limits = [(0.01 * range * 255.0).powi(2), (0.03 * range * 255.0).powi(2)];
    // Sums over the window's rows, for each column and channel; whole numbers, so that they may move on for ever.
    let mut columns = vec![Sums::default(); width * 3];
    let mut total = 0.0;
    for y in 0..height {
        add_row(&mut columns, a, b, y, Sums::plus);
        if y >= WINDOW {
            add_row(&mut columns, a, b, y - WINDOW, Sums::minus);
        }
        if y + 1 >= WINDOW {
            total += row(&columns, limits);
        }
    }
    Ok(total / ((height - WINDOW + 1) * (width - WINDOW + 1) * 3) as f64)
}

/// Of two pixels x, y: x, y, x^2, y^2, x y.
#[derive(Clone, Copy, Default)]
struct Sums([u32; 5]);

impl Sums {
    fn plus(&mut self, other: Sums) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, value)| *sum += value);
    }

    fn minus(&mut self, other: Sums) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, value)| *sum -= value);
    }
}

fn add_row(columns: &mut [Sums], a: &Picture, b: &Picture, y: usize, add: fn(&mut Sums, Sums)) {
    for (sums, (&x, &y)) in columns.iter_mut().zip(a.row(y).iter().zip(b.row(y))) {
        let (x, y) = (u32::from(x), u32::from(y));
        add(sums, Sums([x, y, x * x, y * y, x * y]));
    }
}

/// The sum of the similarities of a row's windows, all channels.
fn row(columns: &[Sums], limits: [f64; 2]) -> f64 {
    let mut total = 0.0;
    let mut window = [Sums::default(); 3];
    for (at, column) in columns.iter().enumerate() {
        let sums = &mut window[at % 3];
        sums.plus(*column);
        if at >= WINDOW * 3 {
            sums.minus(columns[at - WINDOW * 3]);
        }
        if at >= (WINDOW - 1) * 3 {
            total += similarity(*sums, limits);
        }
    }
    total
}

fn similarity(Sums(sums): Sums, [c1, c2]: [f64; 2]) -> f64 {
    const N: f64 = (WINDOW * WINDOW) as f64;
    let [x, y, xx, yy, xy] = sums.map(|sum| f64::from(sum) / N);
    let unbiased = N / (N - 1.0);
    let (vx, vy, vxy) = (unbiased * (xx - x * x), unbiased * (yy - y * y), unbiased * (xy - x * y));
    (2.0 * x * y + c1) * (2.0 * vxy + c2) / ((x * x + y * y + c1) * (vx + vy + c2))
}
