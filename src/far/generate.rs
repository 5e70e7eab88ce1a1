use super::Generator;
use super::kv_cache::KvCache;
use super::sampler::{Sampling, indices};
use crate::backend::Lease;
use crate::error::{Error, Result};
use crate::exec::Eager;
use crate::tensor::Tensor;

/// Rows of a product that a prefix goes through at once: enough for the arithmetic to be the limit, and little
/// memory.
const PREFIX_ROWS: usize = 256;

/// A batch of pictures in the making. As an iterator it makes position after position, row by row, and yields
/// the index of each; the codes so far can be looked at in between. After an error it ends.
///
/// ```no_run
/// # use fqgan::{backend::Device, far::{Generator, Sampling}};
/// # fn show(generator: &Generator) -> fqgan::Result<()> {
/// let mut generation = generator.start(&[207, 360], &Sampling::default(), &[])?;
/// while let Some(position) = generation.next() {
///     println!("position {} of {:?}", position?, generation.codes());
/// }
/// # Ok(())
/// # }
/// ```
pub struct Generation<'a> {
    model: &'a Generator,
    cache: KvCache,
    /// (rows, 1, 1)
    classes: Tensor,
    /// The codes of the last position, (rows, 1, k), where the processor writes them.
    last: Tensor,
    /// After all that lives in it.
    workspace: Lease<'a>,
    sampling: Sampling,
    codes: Vec<u32>,
    next: usize,
    end: usize,
}

impl<'a> Generation<'a> {
    pub(super) fn new(
        model: &'a Generator,
        classes: &[u32],
        sampling: &Sampling,
        given: &[u32],
    ) -> Result<Generation<'a>> {
        let config = model.config();
        sampling.check(config)?;
        model.check_classes(classes, config.classes)?;
        let (k, positions) = (config.codebooks, config.positions());
        let len = classes.len().checked_mul(k * positions);
        let len = len.ok_or_else(|| Error::invalid(format!("{} images are too many", classes.len())))?;
        if sampling.given > 0 {
            model.check_codes(given, classes.len(), sampling.given)?;
        }
        let mut codes = Vec::new();
        codes
            .try_reserve_exact(len)
            .map_err(|_| Error::out_of_memory(format!("no memory for {len} codes")))?;
        codes.resize(len, 0);
        for (codes, given) in codes.chunks_exact_mut(positions).zip(given.chunks_exact(positions)) {
            codes[..sampling.given].copy_from_slice(&given[..sampling.given]);
        }

        let workspace = model.workspaces.take();
        let (rows, end) = (sampling.rows(classes.len()), sampling.end(config));
        let cache = KvCache::new(&workspace, config, rows, end, 1, model.cache_type())?;
        let mut index = indices(&workspace, [rows, 1, 1])?;
        for (row, index) in index.data_mut::<u32>()?.iter_mut().enumerate() {
            // The rows past the images are the null class's.
            *index = classes.get(row).copied().unwrap_or(config.classes as u32);
        }
        let index = model.device.upload(&index, &workspace)?;
        let last = indices(&workspace, [rows, 1, k])?;
        let mut generation = Generation {
            model,
            cache,
            classes: index,
            last,
            workspace,
            sampling: *sampling,
            codes,
            next: 0,
            end,
        };
        generation.prefix()?;
        Ok(generation)
    }

    /// The codes so far, (count, k, height, width); 0 where there is none yet.
    pub fn codes(&self) -> &[u32] {
        &self.codes
    }

    /// Positions that are there.
    pub fn done(&self) -> usize {
        self.next
    }

    /// Positions that there will be.
    pub fn total(&self) -> usize {
        self.end
    }

    /// Runs the given positions through the backbone, but for the last, which the next step begins with.
    fn prefix(&mut self) -> Result<()> {
        let given = self.sampling.given.min(self.end);
        let rows = self.classes.shape()[0];
        if given == 0 || rows == 0 {
            self.next = given;
            return Ok(());
        }
        let e = Eager::new(&self.model.device, &self.workspace);
        let mut input = self.model.model.backbone.embed_classes(&e, &self.classes)?;
        let mut at = 0;
        loop {
            let width = input.shape()[1];
            self.model.backbone_forward(&e, input, &self.cache, at)?;
            at += width;
            if at == given {
                break;
            }
            let width = (PREFIX_ROWS / rows).clamp(1, given - at);
            let mut codes = indices(&self.workspace, [rows, width, self.last.shape()[2]])?;
            self.copy_rows(at - 1, codes.data_mut::<u32>()?, width);
            input = self.model.model.backbone.embed_codes(&e, &e.cx().upload(&codes)?)?;
        }
        self.continue_at(given)
    }

    /// Goes back to an earlier position and draws what follows with another seed: other ends of one beginning,
    /// which is not computed again.
    ///
    /// # Errors
    /// `InvalidArgument` when the position is not there yet.
    pub fn rewind(&mut self, position: usize, seed: u64) -> Result<()> {
        if position > self.next {
            return Err(Error::invalid(format!("back to position {position} of {}", self.next)));
        }
        self.sampling.seed = seed;
        for codes in self.codes.chunks_exact_mut(self.model.config().positions()) {
            codes[position..].fill(0);
        }
        self.continue_at(position)
    }

    fn continue_at(&mut self, position: usize) -> Result<()> {
        if position > 0 {
            let mut last = std::mem::replace(&mut self.last, self.classes.clone());
            self.copy_rows(position - 1, last.data_mut::<u32>()?, 1);
            self.last = last;
        }
        self.next = position;
        Ok(())
    }

    /// The codes of some positions as the backbone wants them: (rows, width, k).
    fn copy_rows(&self, first: usize, to: &mut [u32], width: usize) {
        let (k, positions) = (self.model.config().codebooks, self.model.config().positions());
        let images = self.codes.len() / (k * positions);
        for (at, code) in to.iter_mut().enumerate() {
            let (row, position, i) = (at / (width * k), at / k % width, at % k);
            *code = self.codes[((row % images) * k + i) * positions + first + position];
        }
    }

    fn step(&mut self) -> Result<()> {
        let model = self.model;
        let (k, positions, position) = (model.config().codebooks, model.config().positions(), self.next);
        let e = Eager::new(&model.device, &self.workspace);
        let input = match position {
            0 => model.model.backbone.embed_classes(&e, &self.classes)?,
            _ => model.model.backbone.embed_codes(&e, &e.cx().upload(&self.last)?)?,
        };
        let h = model.backbone_forward(&e, input, &self.cache, position)?;
        let (last, sampling) = (&mut self.last, &self.sampling);
        model.head_forward(&e, &h, &self.cache.head, |i, logits| {
            sampling.choose(&e, [position, i], &logits, last)
        })?;
        // All sub-codes are there: only now the position counts.
        let last = self.last.data::<u32>()?;
        for (image, codes) in self.codes.chunks_exact_mut(k * positions).enumerate() {
            for i in 0..k {
                codes[i * positions + position] = last[image * k + i];
            }
        }
        self.next += 1;
        Ok(())
    }
}

impl Iterator for Generation<'_> {
    type Item = Result<usize>;

    fn next(&mut self) -> Option<Result<usize>> {
        if self.next >= self.end {
            return None;
        }
        let position = self.next;
        let result = if self.codes.is_empty() {
            self.next += 1;
            Ok(())
        } else {
            self.step()
        };
        if result.is_err() {
            self.end = 0;
        }
        Some(result.map(|()| position))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.end.saturating_sub(self.next)))
    }
}

impl std::iter::FusedIterator for Generation<'_> {}
