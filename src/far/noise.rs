//! What training loses on purpose, so that the model leans on nothing.

use crate::ops::dropout::Dropout;
use std::ops::Range;

/// Rates of a training step's dropouts, each from 0 to below 1, and where their random numbers are. The default drops
/// nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Noise {
    /// Of the elements of the backbone's inputs.
    pub tokens: f64,
    /// Of the elements of an attention's output.
    pub residual: f64,
    /// Of the elements of a feed-forward part's output.
    pub feed_forward: f64,
    /// Of whole branches, sample by sample (stochastic depth): 0 in the first block, growing by even steps to this in
    /// the last, and again in the head, where a sample is one position. Where it is not 0, the two before should be.
    pub depth: f64,
    /// Of the run.
    pub seed: u64,
    /// Of the run.
    pub step: u32,
    /// Which of the step's equal parts this is, from 0: its random numbers are those of its place in the whole.
    pub part: u32,
}

/// What a block loses of its two branches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Drops {
    pub attention: Option<Dropout>,
    pub feed_forward: Option<Dropout>,
}

/// The last word of a place, one a use: no other stream of a run has these.
const TOKENS: u32 = 0xFA50_0000;
const ATTENTION: u32 = 0xFA50_0001;
const FEED_FORWARD: u32 = 0xFA50_0002;

impl Noise {
    /// Of the backbone's inputs.
    pub(super) fn tokens(&self) -> Option<Dropout> {
        self.dropout(self.tokens, 1, 0, TOKENS)
    }

    /// Of the branches of block `i` among those of `layers`, which are numbered through backbone and head; `sample` is
    /// the number of elements of a sample.
    pub(super) fn drops(&self, layers: &Range<usize>, i: usize, sample: usize) -> Drops {
        let depth = self.depth * i as f64 / layers.len().saturating_sub(1).max(1) as f64;
        let branch = |rate: f64, what: u32| match self.depth {
            0.0 => self.dropout(rate, 1, layers.start + i, what),
            _ => self.dropout(depth, sample, layers.start + i, what),
        };
        Drops {
            attention: branch(self.residual, ATTENTION),
            feed_forward: branch(self.feed_forward, FEED_FORWARD),
        }
    }

    fn dropout(&self, rate: f64, run: usize, layer: usize, what: u32) -> Option<Dropout> {
        let place = [self.step, layer as u32, what];
        // Not `> 0.0`: what is no rate must be refused by the operation.
        (rate != 0.0).then_some(Dropout {
            rate,
            run,
            residual: false,
            seed: self.seed,
            place,
            part: self.part,
        })
    }
}
