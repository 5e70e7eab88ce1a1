//! Pseudo-weights from a formula, so that exactness can be shown without a weight file: the golden cases were
//! computed with these, and the demo runs on them while no trained weights are shipped.
//!
//! For a tensor's name and a seed,
//!
//! ```text
//! s = fnv1a64(name) ^ seed * 0x9E3779B97F4A7C15
//! u[i] = (mix(s + (i + 1) * 0x9E3779B97F4A7C15) >> 40) * 2^-23 - 1      (mix is splitmix64's)
//! tensor[i] = offset + scale * u[i]                                     (f32, a multiply and an add)
//! ```
//!
//! so u is an exact f32 in [-1, 1), and any machine that has integers gets the same bits.

use super::Source;
use crate::error::Result;
use crate::tensor::{Allocate, DType, Desc, HeapAllocator, Shape, Tensor};
use std::thread;

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;
/// Elements that one thread makes at a time: enough to be worth a thread.
const PIECE: usize = 1 << 18;

/// A tensor's place in the formula.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The checkpoint's name.
    pub name: String,
    /// Extent of each axis.
    pub shape: Shape,
    /// Mean of the elements.
    pub offset: f32,
    /// Half the width of their uniform distribution.
    pub scale: f32,
}

impl Entry {
    /// The entry that the golden cases' rule gives a tensor, from its name and shape.
    pub fn by_rule(name: impl Into<String>, shape: impl Into<Shape>) -> Entry {
        let (name, shape) = (name.into(), shape.into());
        let (offset, scale) = rule(&name, &shape);
        Entry { name, shape, offset, scale }
    }

    /// The tensor, f32.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn tensor(&self, seed: u64) -> Result<Tensor> {
        let desc = self.desc();
        let bytes = desc.bytes().unwrap_or(usize::MAX); // More than there is, and refused as that.
        let mut tensor = Tensor::new(desc, HeapAllocator.allocate(bytes)?)?;
        fill(&self.name, seed, self.offset, self.scale, tensor.data_mut()?);
        Ok(tensor)
    }

    /// Type and shape of the tensor.
    pub fn desc(&self) -> Desc {
        Desc::plain(self.shape, DType::F32)
    }
}

/// All of these tensors, in memory.
///
/// # Errors
/// `OutOfMemory`.
pub fn source<'a>(entries: impl IntoIterator<Item = &'a Entry>, seed: u64) -> Result<Source> {
    let tensors = entries.into_iter().map(|e| Ok((e.name.clone(), e.tensor(seed)?)));
    Ok(Source::from_tensors(tensors.collect::<Result<Vec<_>>>()?, Default::default()))
}

/// Elements of the tensor `name`, from the first on, by all the machine's threads.
pub fn fill(name: &str, seed: u64, offset: f32, scale: f32, out: &mut [f32]) {
    let start = fnv1a64(name) ^ seed.wrapping_mul(GAMMA);
    let fill = |first: usize, part: &mut [f32]| {
        let mut state = start.wrapping_add((first as u64).wrapping_mul(GAMMA));
        for x in part {
            state = state.wrapping_add(GAMMA);
            *x = offset + scale * ((mix(state) >> 40) as f32 * (1.0 / 8_388_608.0) - 1.0);
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(out.len() / PIECE);
    if threads <= 1 {
        return fill(0, out);
    }
    let share = out.len().div_ceil(threads);
    thread::scope(|scope| {
        for (i, part) in out.chunks_mut(share).enumerate() {
            scope.spawn(move || fill(i * share, part));
        }
    });
}

fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn fnv1a64(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3))
}

/// Offset and scale that the golden cases give a tensor of a state dict.
pub fn rule(name: &str, shape: &[usize]) -> (f32, f32) {
    let leaf = name.rsplit('.').next().unwrap_or(name);
    if leaf == "running_var" {
        return (1.0, 0.1);
    }
    if leaf == "running_mean" {
        return (0.0, 0.1);
    }
    let codebook = name.contains("quantize") && leaf == "weight";
    if codebook || name.contains("tok_embeddings") || name.contains("cls_embedding") {
        return (0.0, 1.0);
    }
    // "embedding" is in "embeddings" too.
    if leaf.contains("embedding")
        || matches!(leaf, "cls_token" | "mask_token")
        || name.contains("position_embedding")
    {
        return (0.0, 0.1);
    }
    if leaf.starts_with("lambda") {
        return (0.5, 0.1);
    }
    // The heads of LPIPS are not negative.
    if name.contains(".lin") && name.ends_with("model.1.weight") || name.starts_with("lin") {
        return (0.5, 0.5);
    }
    if shape.len() >= 2 {
        let fan_in: usize = shape[1..].iter().product();
        let gain = if leaf == "weight" && format!(".{name}").contains(".output_") { 4.0 } else { 1.0 };
        return (0.0, (gain * (3.0 / fan_in as f64).sqrt()) as f32);
    }
    (if leaf == "weight" { 1.0 } else { 0.0 }, 0.1)
}
