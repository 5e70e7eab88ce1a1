//! Teacher forcing: the logits of codes that are known.

use super::Generator;
use super::generate::Place;
use super::kv_cache::KvCache;
use super::sampler::indices;
use crate::error::{Error, Result};
use crate::exec::{Eager, Exec};
use crate::ops::cross_entropy::CrossEntropy;
use crate::tensor::Tensor;

/// Rows that go through the layers at once.
const ROWS: usize = 256;

/// Logits of some positions of some images.
struct Piece<'a> {
    logits: &'a Tensor,
    /// The codes that the logits are about, (images * positions).
    targets: &'a Tensor,
    sub_code: usize,
    first_image: usize,
    first_position: usize,
    positions: usize,
}

impl Generator {
    /// The logits of known codes, without guidance: what the model expected at each position, given the class
    /// and all codes before. `classes` (count), where the index `config().classes` is the null class; `codes`
    /// (count, k, height, width); `logits` (count, k, positions, N), written from the start.
    ///
    /// They are, bit for bit, the logits that generation draws from on the same instruction level.
    ///
    /// # Errors
    /// `InvalidArgument` for a class or code that there is not, and for lengths that do not fit; `OutOfMemory`.
    pub fn logits_into(&self, classes: &[u32], codes: &[u32], logits: &mut [f32]) -> Result<()> {
        self.write_logits(classes, codes, logits, usize::MAX)
    }

    /// As [`Generator::logits_into`], position by position out of the cache, as generation goes: for those who
    /// want to see that both are the same.
    ///
    /// # Errors
    /// As [`Generator::logits_into`].
    pub fn cached_logits_into(&self, classes: &[u32], codes: &[u32], logits: &mut [f32]) -> Result<()> {
        self.write_logits(classes, codes, logits, 1)
    }

    fn write_logits(&self, classes: &[u32], codes: &[u32], logits: &mut [f32], abreast: usize) -> Result<()> {
        let config = self.config();
        let (k, positions, n) = (config.codebooks, config.positions(), config.codebook_size);
        let need = [classes.len(), k, positions, n].iter().try_fold(1usize, |n, &e| n.checked_mul(e));
        if need.is_none_or(|need| logits.len() < need) {
            let need = need.map_or("more than can be addressed".to_owned(), |n| n.to_string());
            return Err(Error::invalid(format!("logits holds {} elements, expected {need}", logits.len())));
        }
        self.forced(classes, codes, abreast, |e, piece| {
            let logits_here = e.cx().download(piece.logits)?;
            let runs = logits_here.data::<f32>()?.chunks_exact(piece.positions * n);
            for (image, run) in runs.enumerate() {
                let row =
                    ((piece.first_image + image) * k + piece.sub_code) * positions + piece.first_position;
                logits[row * n..row * n + run.len()].copy_from_slice(run);
            }
            Ok(())
        })
    }

    /// How surprising known codes are: -ln p of each, in nats, (count, k, height, width) as the codes. Arguments
    /// as [`Generator::logits_into`].
    ///
    /// # Errors
    /// As [`Generator::logits_into`].
    pub fn surprise_into(&self, classes: &[u32], codes: &[u32], nats: &mut [f32]) -> Result<()> {
        let (k, positions) = (self.config().codebooks, self.config().positions());
        if nats.len() < codes.len() {
            return Err(Error::invalid(format!(
                "nats holds {} elements, expected {}",
                nats.len(),
                codes.len()
            )));
        }
        self.forced(classes, codes, usize::MAX, |e, piece| {
            let [all] = e.apply(CrossEntropy, &[piece.logits, piece.targets])?;
            for (image, run) in
                e.cx().download(&all)?.data::<f32>()?.chunks_exact(piece.positions).enumerate()
            {
                let at =
                    ((piece.first_image + image) * k + piece.sub_code) * positions + piece.first_position;
                nats[at..at + run.len()].copy_from_slice(run);
            }
            Ok(())
        })
    }

    /// Runs known codes through the model, a few images at a time, up to `abreast` positions at once.
    fn forced(
        &self,
        classes: &[u32],
        codes: &[u32],
        abreast: usize,
        mut visit: impl FnMut(&Eager<'_>, Piece<'_>) -> Result<()>,
    ) -> Result<()> {
        let config = self.config();
        let (k, positions) = (config.codebooks, config.positions());
        self.check_classes(classes, config.classes + 1)?;
        self.check_codes(codes, classes.len(), positions)?;
        let chunk = (ROWS / positions).max(1);
        for (at, (classes, codes)) in
            classes.chunks(chunk).zip(codes.chunks(chunk * k * positions)).enumerate()
        {
            let workspace = self.workspaces.take();
            let e = Eager::new(&self.device, &workspace);
            let rows = classes.len();
            let cache = KvCache::new(&workspace, config, rows, positions, 1, self.cache_type())?;
            let mut index = indices(&workspace, [rows, 1, 1])?;
            index.data_mut::<u32>()?.copy_from_slice(classes);
            let mut input = self.model.backbone.embed_classes(&e, &e.cx().upload(&index)?)?;
            let mut first = 0;
            while first < positions {
                // The class's position by itself.
                let width = if first == 0 { 1 } else { abreast.min(positions - first) };
                let code =
                    |row: usize, i: usize, position: usize| codes[(row * k + i) * positions + position];
                if first > 0 {
                    let mut before = indices(&workspace, [rows, width, k])?;
                    for (at, to) in before.data_mut::<u32>()?.iter_mut().enumerate() {
                        *to = code(at / (width * k), at % k, first - 1 + at / k % width);
                    }
                    input = self.model.backbone.embed_codes(&e, &e.cx().upload(&before)?)?;
                }
                let h = self.backbone_forward(&e, input.clone(), &cache, Place::Known(first))?;
                let h = h.reshape([rows * width, 1, config.dim])?;
                let head = KvCache::new(&workspace, config, rows, 0, width, self.cache_type())?.head;
                self.head_forward(&e, &h, &head, |i, logits| {
                    let mut targets = indices(&workspace, [rows * width, 1, 1])?;
                    for (at, to) in targets.data_mut::<u32>()?.iter_mut().enumerate() {
                        *to = code(at / width, i, first + at % width);
                    }
                    let targets = e.cx().upload(&targets)?;
                    visit(
                        &e,
                        Piece {
                            logits: &logits,
                            targets: &targets.reshape([rows * width])?,
                            sub_code: i,
                            first_image: at * chunk,
                            first_position: first,
                            positions: width,
                        },
                    )?;
                    Ok(targets)
                })?;
                first += width;
            }
        }
        Ok(())
    }
}
