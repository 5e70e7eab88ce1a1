use super::crowd::tensor;
use super::{Crowd, frechet, ssim};
use crate::backend::Device;
use crate::error::{Error, Result, Status};
use crate::exec::Eager;
use crate::image::{Picture, psnr};
use crate::teachers::{Inception, Lpips};
use crate::tokenizer::Tokenizer;

/// Networks that a measurement asks; what is not there is not measured.
#[derive(Default)]
pub struct Judges {
    /// The perceptual distance.
    pub lpips: Option<Lpips>,
    /// The Fréchet distance and the inception score.
    pub inception: Option<Inception>,
}

/// What a tokenizer keeps of pictures. All pictures' means; bytes are compared, as they would be shown.
#[derive(Clone, Debug)]
pub struct Reconstruction {
    /// Pictures that were measured.
    pub pictures: usize,
    /// Peak signal-to-noise ratio in dB; 100 for a picture that came back equal.
    pub psnr: f64,
    /// SSIM with a data range of 1.
    pub ssim: f64,
    /// SSIM with a data range of 2, as the paper's authors call it.
    pub ssim_range_2: f64,
    /// Mean absolute difference of pixels in [0, 1].
    pub l1: f64,
    /// LPIPS.
    pub lpips: Option<f64>,
    /// The Fréchet distance of originals and reconstructions.
    pub rfid: Option<f64>,
    /// The inception score of the reconstructions, in splits of 5000: mean and deviation.
    pub inception_score: Option<(f64, f64)>,
    /// Whether the pictures are fewer than Inception's features have numbers, so that `rfid` says little.
    pub too_few_for_rfid: bool,
    /// Bits of a picture's codes for each of its pixels.
    pub bits_per_pixel: f64,
    /// Of each sub-codebook, in order, how often each of its codes came.
    pub histograms: Vec<Vec<u64>>,
}

impl Reconstruction {
    /// Of each sub-codebook, the share of its codes that came at all.
    pub fn usage(&self) -> Vec<f64> {
        let share =
            |counts: &Vec<u64>| counts.iter().filter(|&&c| c > 0).count() as f64 / counts.len() as f64;
        self.histograms.iter().map(share).collect()
    }

    /// Of each sub-codebook, exp of the entropy of its codes: as how many equally frequent ones they are.
    pub fn perplexity(&self) -> Vec<f64> {
        let of = |counts: &Vec<u64>| {
            let all = counts.iter().sum::<u64>() as f64;
            let terms = counts.iter().filter(|&&c| c > 0).map(|&c| c as f64 / all);
            (-terms.map(|p| p * p.ln()).sum::<f64>()).exp()
        };
        self.histograms.iter().map(of).collect()
    }
}

/// Pictures that go through the networks at once, by their pixels.
const PIXELS_AT_ONCE: usize = 4 * 256 * 256;

/// Measures a tokenizer on the centre crops of pictures, `size` pixels a side. `progress` is told how many were looked at,
/// and why one could not be read, which is left out; the error that it returns ends the work.
///
/// # Errors
/// `InvalidArgument` for a size that the tokenizer has no grid for or SSIM no window, or when not one picture can be
/// read; the networks'; `OutOfMemory`.
pub fn reconstruction(
    device: &Device,
    tokenizer: &Tokenizer,
    pictures: impl Iterator<Item = Result<Picture>>,
    size: usize,
    judges: &Judges,
    mut progress: impl FnMut(usize, Option<&Error>) -> Result<()>,
) -> Result<Reconstruction> {
    let config = tokenizer.config();
    let (grid, k) = (tokenizer.grid(size, size)?, config.branches.len());
    let cells = grid.height * grid.width;
    let workspace = device.workspace(None);
    let (mut originals, mut crowd) = (Crowd::new()?, Crowd::new()?);
    let bits = (config.codebook_size as f64).log2() * (k * cells) as f64;
    let mut found = Reconstruction {
        pictures: 0,
        psnr: 0.0,
        ssim: 0.0,
        ssim_range_2: 0.0,
        l1: 0.0,
        lpips: judges.lpips.as_ref().map(|_| 0.0),
        rfid: None,
        inception_score: None,
        too_few_for_rfid: false,
        bits_per_pixel: bits / (size * size) as f64,
        histograms: vec![vec![0; config.codebook_size]; k],
    };
    let at_once = (PIXELS_AT_ONCE / (size * size)).max(1);
    let (mut pictures, mut seen) = (pictures.fuse(), 0);
    loop {
        let mut batch = Vec::with_capacity(at_once);
        let before = seen;
        for picture in pictures.by_ref().take(at_once) {
            seen += 1;
            match picture.and_then(|p| p.center_crop(size)) {
                Ok(square) => batch.push(square),
                Err(e) if matches!(e.status(), Status::OutOfMemory | Status::Internal) => return Err(e),
                Err(e) => progress(seen, Some(&e))?,
            }
        }
        if seen == before {
            break;
        }
        let mut codes = vec![0; batch.len() * k * cells];
        tokenizer.encode_into(&batch.iter().map(Picture::view).collect::<Vec<_>>(), &mut codes)?;
        let mut back: Vec<Picture> = batch.iter().map(|_| Picture::new(size, size)).collect::<Result<_>>()?;
        tokenizer.decode_into(
            &codes,
            grid,
            0,
            &mut back.iter_mut().map(Picture::view_mut).collect::<Vec<_>>(),
        )?;
        for (i, of_book) in codes.chunks_exact(cells).enumerate() {
            of_book.iter().for_each(|&code| found.histograms[i % k][code as usize] += 1);
        }
        for (a, b) in batch.iter().zip(&back) {
            found.psnr += psnr(a, b).min(100.0);
            found.ssim += ssim(a, b, 1.0)?;
            found.ssim_range_2 += ssim(a, b, 2.0)?;
            let apart: u64 = a.pixels().iter().zip(b.pixels()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
            found.l1 += apart as f64 / (255 * a.pixels().len()) as f64;
        }
        found.pictures += batch.len();
        let e = Eager::new(device, &workspace);
        if let (Some(lpips), Some(sum), false) = (&judges.lpips, &mut found.lpips, batch.is_empty()) {
            let others = lpips.features(&e, &tensor(&e, &back)?)?;
            let distances = lpips.distance(&e, &tensor(&e, &batch)?, &others)?;
            *sum += distances.data::<f32>()?.iter().map(|&d| f64::from(d)).sum::<f64>();
        }
        if let Some(inception) = &judges.inception {
            originals.see(&e, inception, &batch)?;
            crowd.see(&e, inception, &back)?;
        }
        progress(seen, None)?;
    }
    if found.pictures == 0 {
        return Err(Error::invalid(format!("not one of {seen} pictures can be read")));
    }
    let n = found.pictures as f64;
    let means = [&mut found.psnr, &mut found.ssim, &mut found.ssim_range_2, &mut found.l1];
    means.into_iter().chain(found.lpips.as_mut()).for_each(|sum| *sum /= n);
    if judges.inception.is_some() {
        let (a, b) = (originals.gaussian()?, crowd.gaussian()?);
        found.rfid = Some(frechet(&a, &b)?);
        found.too_few_for_rfid = a.is_short();
        found.inception_score = Some(crowd.score(5000)?);
    }
    Ok(found)
}
