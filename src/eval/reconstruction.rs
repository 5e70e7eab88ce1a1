use super::crowd::tensor;
use super::study::{Study, bytes_of, numbers_of};
use super::{Crowd, Wanted, frechet, ssim};
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::exec::Eager;
use crate::image::{Picture, psnr};
use crate::teachers::{Inception, Lpips};
use crate::tokenizer::{Grid, Tokenizer};

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

const ORIGINALS: Wanted = Wanted { features: false, spatial: false, classes: false };
const RESULTS: Wanted = Wanted { classes: true, ..ORIGINALS };

/// Measures a tokenizer on the centre crops of pictures: a [`Study`]. A picture's entry is its PSNR, SSIM twice, L1 and
/// LPIPS in f64, its codes in u32, and what Inception makes of it before and after in f32.
pub struct Measuring<'a> {
    device: &'a Device,
    tokenizer: &'a Tokenizer,
    judges: &'a Judges,
    size: usize,
    grid: Grid,
    codes: usize,
    count: usize,
    /// Of PSNR, SSIM, SSIM of range 2, L1, LPIPS.
    sums: [f64; 5],
    histograms: Vec<Vec<u64>>,
    crowds: [Crowd; 2],
}

impl<'a> Measuring<'a> {
    /// Of squares of `size` pixels a side.
    ///
    /// # Errors
    /// `InvalidArgument` for a size that the tokenizer has no grid for.
    pub fn new(
        device: &'a Device,
        tokenizer: &'a Tokenizer,
        judges: &'a Judges,
        size: usize,
    ) -> Result<Measuring<'a>> {
        let config = tokenizer.config();
        let (grid, k) = (tokenizer.grid(size, size)?, config.branches.len());
        Ok(Measuring {
            device,
            tokenizer,
            judges,
            size,
            grid,
            codes: k * grid.height * grid.width,
            count: 0,
            sums: [0.0; 5],
            histograms: vec![vec![0; config.codebook_size]; k],
            crowds: [Crowd::new(ORIGINALS)?, Crowd::new(RESULTS)?],
        })
    }

    /// The figures of all that was taken in.
    ///
    /// # Errors
    /// As [`frechet`] and [`Crowd::gaussians`].
    pub fn finish(self) -> Result<Reconstruction> {
        let config = self.tokenizer.config();
        let [psnr, ssim, ssim_range_2, l1, lpips] = self.sums.map(|sum| sum / self.count as f64);
        let bits = (config.codebook_size as f64).log2() * self.codes as f64;
        let mut found = Reconstruction {
            pictures: self.count,
            psnr,
            ssim,
            ssim_range_2,
            l1,
            lpips: self.judges.lpips.as_ref().map(|_| lpips),
            rfid: None,
            inception_score: None,
            too_few_for_rfid: false,
            bits_per_pixel: bits / (self.size * self.size) as f64,
            histograms: self.histograms,
        };
        if self.judges.inception.is_some() {
            let [(before, _), (after, _)] = [self.crowds[0].gaussians()?, self.crowds[1].gaussians()?];
            found.rfid = Some(frechet(&before, &after)?);
            found.too_few_for_rfid = before.is_short();
            found.inception_score = Some(self.crowds[1].score(5000)?);
        }
        Ok(found)
    }

    /// Numbers of Inception's in an entry: before, after.
    fn seen(&self) -> [usize; 2] {
        match self.judges.inception {
            Some(_) => [ORIGINALS, RESULTS].map(Crowd::width),
            None => [0, 0],
        }
    }
}

impl Study for Measuring<'_> {
    fn width(&self) -> usize {
        5 * 8 + 4 * (self.codes + self.seen().iter().sum::<usize>())
    }

    fn at_once(&self) -> usize {
        (PIXELS_AT_ONCE / (self.size * self.size)).max(1)
    }

    fn prepare(&self, picture: Picture) -> Result<Picture> {
        picture.center_crop(self.size)
    }

    fn look(&self, pictures: &[Picture]) -> Result<Vec<u8>> {
        let mut codes = vec![0; pictures.len() * self.codes];
        self.tokenizer.encode_into(&pictures.iter().map(Picture::view).collect::<Vec<_>>(), &mut codes)?;
        let new = |_: &Picture| Picture::new(self.size, self.size);
        let mut back: Vec<Picture> = pictures.iter().map(new).collect::<Result<_>>()?;
        let mut views: Vec<_> = back.iter_mut().map(Picture::view_mut).collect();
        self.tokenizer.decode_into(&codes, self.grid, 0, &mut views)?;
        let workspace = self.device.workspace(None);
        let e = Eager::new(self.device, &workspace);
        let mut distances = vec![0.0; pictures.len()];
        if let (Some(lpips), false) = (&self.judges.lpips, pictures.is_empty()) {
            let others = lpips.features(&e, &tensor(&e, &back)?)?;
            let found = lpips.distance(&e, &tensor(&e, pictures)?, &others)?;
            distances = found.on_host()?.data::<f32>()?.iter().map(|&d| f64::from(d)).collect();
        }
        let [mut before, mut after] = [Vec::new(), Vec::new()];
        if let Some(inception) = &self.judges.inception {
            before = Crowd::look(&e, inception, pictures, ORIGINALS)?;
            after = Crowd::look(&e, inception, &back, RESULTS)?;
        }
        let mut entries = Vec::with_capacity(pictures.len() * self.width());
        let widths = self.seen();
        for (i, (a, b)) in pictures.iter().zip(&back).enumerate() {
            let apart: u64 = a.pixels().iter().zip(b.pixels()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
            let l1 = apart as f64 / (255 * a.pixels().len()) as f64;
            let figures = [psnr(a, b).min(100.0), ssim(a, b, 1.0)?, ssim(a, b, 2.0)?, l1, distances[i]];
            entries.extend(figures.iter().flat_map(|figure| figure.to_le_bytes()));
            let own = &codes[i * self.codes..(i + 1) * self.codes];
            entries.extend(own.iter().flat_map(|code| code.to_le_bytes()));
            for (rows, width) in [&before, &after].into_iter().zip(widths) {
                entries.extend(bytes_of(&rows[i * width..(i + 1) * width]));
            }
        }
        Ok(entries)
    }

    fn take(&mut self, entry: &[u8]) -> Result<()> {
        if entry.len() != self.width() {
            return Err(Error::invalid(format!(
                "an entry of {} bytes, expected {}",
                entry.len(),
                self.width()
            )));
        }
        let (figures, rest) = entry.split_at(5 * 8);
        for (sum, figure) in self.sums.iter_mut().zip(figures.as_chunks::<8>().0) {
            *sum += f64::from_le_bytes(*figure);
        }
        let (codes, rest) = rest.split_at(4 * self.codes);
        let cells = self.grid.height * self.grid.width;
        for (i, code) in codes.as_chunks::<4>().0.iter().enumerate() {
            let counts = &mut self.histograms[i / cells];
            let code = u32::from_le_bytes(*code) as usize;
            let count = counts.get_mut(code);
            *count.ok_or_else(|| Error::invalid(format!("code {code} of a codebook that has fewer")))? += 1;
        }
        let [before, _] = self.seen();
        let (before, after) = rest.split_at(4 * before);
        if self.judges.inception.is_some() {
            self.crowds[0].push(&numbers_of(before))?;
            self.crowds[1].push(&numbers_of(after))?;
        }
        self.count += 1;
        Ok(())
    }
}
