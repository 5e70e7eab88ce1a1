use crate::error::{Error, Result};
use crate::tensor::Tensor;
use std::collections::VecDeque;

/// The last assignments that usage is counted over.
const WINDOW: usize = 65_536;

/// How many codes of a sub-codebook are in use: distinct ones among the last 65536 that were given out.
#[derive(Clone, Debug)]
pub struct Usage {
    last: VecDeque<u32>,
    /// How often each code stands in `last`.
    times: Vec<u32>,
    distinct: usize,
}

impl Usage {
    /// Of a sub-codebook of `codes`, before the first was given out.
    pub fn new(codes: usize) -> Usage {
        Usage { last: VecDeque::new(), times: vec![0; codes], distinct: 0 }
    }

    /// Codes of the sub-codebook.
    pub fn size(&self) -> usize {
        self.times.len()
    }

    /// Codes that were given out, in order.
    ///
    /// # Errors
    /// `Format` for one that is not of the sub-codebook.
    pub fn add(&mut self, codes: &[u32]) -> Result<()> {
        for &code in codes {
            let size = self.times.len();
            let times = self
                .times
                .get_mut(code as usize)
                .ok_or_else(|| Error::format(format!("code {code} of a sub-codebook of {size}")))?;
            *times += 1;
            self.distinct += usize::from(*times == 1);
            self.last.push_back(code);
            if self.last.len() > WINDOW
                && let Some(old) = self.last.pop_front()
            {
                self.times[old as usize] -= 1;
                self.distinct -= usize::from(self.times[old as usize] == 0);
            }
        }
        Ok(())
    }

    /// The share of the codes that are in use, 0 to 1.
    pub fn share(&self) -> f64 {
        self.distinct as f64 / self.times.len().max(1) as f64
    }

    /// Whether as many codes were given out as are looked at.
    pub fn is_full(&self) -> bool {
        self.last.len() == WINDOW
    }

    /// The last codes, oldest first.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn codes(&self) -> Result<Tensor> {
        let codes: Vec<u32> = self.last.iter().copied().collect();
        Tensor::from_slice([codes.len()], &codes)
    }
}
