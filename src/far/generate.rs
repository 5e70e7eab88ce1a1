use super::Generator;
use super::kv_cache::KvCache;
use super::sampler::{Sampling, indices};
use crate::backend::{Lease, Recording};
use crate::error::{Error, Result};
use crate::exec::Eager;
use crate::ops::sample::{Draw, Picks};
use crate::tensor::Tensor;

/// Rows of a product that a prefix goes through at once: enough for the arithmetic to be the limit, and little
/// memory.
const PREFIX_ROWS: usize = 256;

/// Where a step is.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    /// At this position.
    Known(usize),
    /// Where these are; not at the first position.
    Picks(&'a Picks),
}

/// A batch of pictures in the making. As an iterator it makes position after position, row by row, and yields
/// the index of each; the codes so far can be looked at in between. After an error it ends.
///
/// A GPU is not waited for until somebody looks at the codes, and before the last position is given: logits that are not
/// finite are an error there and then.
///
/// ```no_run
/// # use fqgan::{backend::Device, far::{Generator, Sampling}};
/// # fn show(generator: &Generator) -> fqgan::Result<()> {
/// let mut generation = generator.start(&[207, 360], &Sampling::default(), &[])?;
/// while let Some(position) = generation.next() {
///     println!("position {} of {:?}", position?, generation.codes()?);
/// }
/// # Ok(())
/// # }
/// ```
pub struct Generation<'a> {
    model: &'a Generator,
    /// A step anywhere but at the first position, where the device has noted it down.
    recorded: Option<Recording>,
    cache: KvCache,
    /// (rows, 1, 1)
    classes: Tensor,
    /// What was drawn, where the device has it.
    picks: Picks,
    /// After all that lives in it.
    workspace: Lease<'a>,
    sampling: Sampling,
    codes: Vec<u32>,
    /// Positions that `codes` has.
    seen: usize,
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
        let cx = Eager::new(&model.device, &workspace).cx();
        let picks = Picks::new(cx, [rows, classes.len()], [end, k])?;
        let mut generation = Generation {
            model,
            recorded: None,
            cache,
            classes: index,
            picks,
            workspace,
            sampling: *sampling,
            codes,
            seen: 0,
            next: 0,
            end,
        };
        generation.prefix()?;
        Ok(generation)
    }

    /// The codes so far, (count, k, height, width); 0 where there is none yet.
    ///
    /// # Errors
    /// On a GPU, which is waited for: `Format` when logits were not finite; `OutOfMemory`, `Device`.
    pub fn codes(&mut self) -> Result<&[u32]> {
        self.look()?;
        Ok(&self.codes)
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
            (self.seen, self.next) = (given, given);
            return Ok(());
        }
        let e = Eager::new(&self.model.device, &self.workspace);
        let mut input = self.model.model.backbone.embed_classes(&e, &self.classes)?;
        let mut at = 0;
        loop {
            let width = input.shape()[1];
            self.model.backbone_forward(&e, input, &self.cache, Place::Known(at))?;
            at += width;
            if at == given {
                break;
            }
            let width = (PREFIX_ROWS / rows).clamp(1, given - at);
            let mut codes = indices(&self.workspace, [rows, width, self.model.config().codebooks])?;
            self.copy_rows(at - 1, codes.data_mut::<u32>()?, width);
            input = self.model.model.backbone.embed_codes(&e, &e.cx().upload(&codes)?)?;
        }
        self.continue_at(given)
    }

    /// Goes back to an earlier position and draws what follows with another seed: other ends of one beginning,
    /// which is not computed again.
    ///
    /// # Errors
    /// `InvalidArgument` when the position is not there yet; those of [`Generation::codes`].
    pub fn rewind(&mut self, position: usize, seed: u64) -> Result<()> {
        if position > self.next {
            return Err(Error::invalid(format!("back to position {position} of {}", self.next)));
        }
        self.look()?;
        if seed != self.sampling.seed || position == 0 {
            // The seed is a part of it; and at the first position other work takes memory of the same workspace.
            self.recorded = None;
        }
        self.sampling.seed = seed;
        for codes in self.codes.chunks_exact_mut(self.model.config().positions()) {
            codes[position..].fill(0);
        }
        self.continue_at(position)
    }

    fn continue_at(&mut self, position: usize) -> Result<()> {
        let cx = Eager::new(&self.model.device, &self.workspace).cx();
        self.picks.go_to(cx, position, |last| match position {
            0 => last.fill(0),
            _ => self.copy_rows(position - 1, last, 1),
        })?;
        (self.seen, self.next) = (position, position);
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
        match &self.recorded {
            Some(recorded) if self.next > 0 => {
                recorded.start()?;
                self.cache.backbone.now_holds(self.next + 1);
            }
            _ => {
                self.run(Place::Known(self.next))?;
                if self.next > 0 && self.next + 1 < self.end {
                    // It has all its memory now, and is the same work from here on.
                    self.recorded = self.model.device.record(|| self.run(Place::Picks(&self.picks)))?;
                }
            }
        }
        // All sub-codes are there: only now the position counts.
        self.next += 1;
        if self.next == self.end { self.look() } else { Ok(()) }
    }

    /// Draws all sub-codes of a position.
    fn run(&self, place: Place<'_>) -> Result<()> {
        let model = self.model;
        let e = Eager::new(&model.device, &self.workspace);
        let input = match place {
            Place::Known(0) => model.model.backbone.embed_classes(&e, &self.classes)?,
            _ => model.model.backbone.embed_codes(&e, &self.picks.last())?,
        };
        let h = model.backbone_forward(&e, input, &self.cache, place)?;
        model.head_forward(&e, &h, &self.cache.head, |i, logits| {
            let [codes] = e.run(&Draw { sample: self.sampling.draw(i), picks: &self.picks }, &[&logits])?;
            Ok(codes)
        })
    }

    /// Fetches the codes that were drawn since the last time.
    fn look(&mut self) -> Result<()> {
        if self.seen == self.next || self.codes.is_empty() {
            self.seen = self.next;
            return Ok(());
        }
        let cx = Eager::new(&self.model.device, &self.workspace).cx();
        let all = self.picks.read(cx, &self.sampling.draw(0))?;
        let positions = self.model.config().positions();
        let each = self.codes.len() / positions;
        for (at, code) in all.data::<u32>()?[self.seen * each..self.next * each].iter().enumerate() {
            let (position, of_book) = (self.seen + at / each, at % each);
            self.codes[of_book * positions + position] = *code;
        }
        self.seen = self.next;
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
