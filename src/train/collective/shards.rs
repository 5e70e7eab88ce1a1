//! Tensors of which each process keeps a part.

use super::Group;
use crate::error::{Error, Result};
use crate::tensor::Desc;
use crate::train::optim::Tensors;
use std::collections::BTreeSet;

/// Floats that travel together.
const LOT: usize = 1 << 20;

impl Group {
    /// Which of the tensors of these names and sizes this process keeps: each has one that does, and all have about as
    /// much.
    pub(in crate::train) fn owned<'a>(
        &self,
        sizes: impl Iterator<Item = (&'a String, usize)>,
    ) -> BTreeSet<String> {
        let mut sizes: Vec<_> = sizes.collect();
        // The largest first, each to whoever has least so far.
        sizes.sort_by_key(|&(name, size)| (std::cmp::Reverse(size), name));
        let mut loads = vec![0; self.size()];
        let mut owned = BTreeSet::new();
        for (name, size) in sizes {
            let least = (0..loads.len()).min_by_key(|&rank| loads[rank]).unwrap_or(0);
            loads[least] += size;
            if least == self.rank() {
                owned.insert(name.clone());
            }
        }
        owned
    }

    /// Gives this process the floats, as bytes, of all tensors that others have: each gives its own, f32, which are
    /// among `all`. No tensor is two processes'.
    ///
    /// # Errors
    /// As [`Group::gather`]; those of `take`.
    pub(in crate::train) fn exchange(
        &self,
        mine: &Tensors,
        all: &[(String, Desc)],
        mut take: impl FnMut(&str, &Desc, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut lots = vec![(0, Vec::new())];
        for (index, (name, desc)) in all.iter().enumerate() {
            let Some(tensor) = mine.get(name) else { continue };
            if lots.last().is_none_or(|(floats, _)| *floats >= LOT) {
                lots.push((0, Vec::new()));
            }
            if let Some((floats, lot)) = lots.last_mut() {
                *floats += desc.shape.count();
                lot.push((index, tensor));
            }
        }
        let rounds = self.gather_numbers(&[lots.len() as f64])?.concat().into_iter().fold(0.0, f64::max);
        for round in 0..rounds as usize {
            let mut bytes = Vec::new();
            for (index, tensor) in lots.get(round).into_iter().flat_map(|(_, lot)| lot) {
                bytes.extend((*index as u32).to_le_bytes());
                bytes.extend(tensor.on_host()?.data::<f32>()?.iter().flat_map(|x| x.to_le_bytes()));
            }
            for (rank, bytes) in self.gather_each(bytes)?.iter().enumerate() {
                let mut rest = if rank == self.rank() { &[][..] } else { bytes };
                while let Some((index, more)) = rest.split_first_chunk::<4>() {
                    let cut = || Error::internal("a process gave tensors that are none of this network");
                    let (name, desc) = all.get(u32::from_le_bytes(*index) as usize).ok_or_else(cut)?;
                    let (floats, others) =
                        more.split_at_checked(size_of::<f32>() * desc.shape.count()).ok_or_else(cut)?;
                    take(name, desc, floats)?;
                    rest = others;
                }
            }
        }
        Ok(())
    }
}
