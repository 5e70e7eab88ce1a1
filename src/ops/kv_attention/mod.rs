//! Causal attention over a cache: the keys and values of new positions join those of earlier ones, and each
//! new position attends to all up to its own.
//!
//! A query's sums run over the cached positions in their order, whatever the number of new positions, so a
//! sequence fed position by position gives the bits that it gives at once.

mod cache;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

pub use cache::Cache;

use super::check::{dims, expect_type};
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::exec::{Cost, Cx, Op};
use crate::tensor::{DType, Desc, Tensor};

/// Appends and attends.
///
/// Inputs: qkv (b, t, 3 * d) f32, q then k then v, each the cache's heads side by side; and, if queries and keys are
/// to be turned first as [`super::rotary::Rotary`] does, its table (rows, head_dim / 2, 2) f32, of which the first
/// new position takes row `position`. Output: (b, t, d) f32,
/// softmax(q k^T head_dim^-0.5) v. The b rows are the cache's, the t positions are `position`.. of it; later
/// ones that the cache may hold are forgotten. On a GPU qkv may be bf16 beside a cache of bf16, and so is the output.
#[derive(Clone, Copy, Debug)]
pub struct KvAttention<'a> {
    /// Which layer's keys and values.
    pub layer: usize,
    /// Where the first new position goes: at most the cache's length.
    pub position: usize,
    /// A number (1) u32 in a device's memory that joins `position`, where there is one: work that was noted down once
    /// goes on at another place so. Whoever writes it sees to it that the positions are there, and that cache and table
    /// have room; the length of the cache stays. Not on the processor, which knows the place.
    pub at: Option<&'a Tensor>,
    /// Where keys and values are kept.
    pub cache: &'a Cache,
}

impl Op for KvAttention<'_> {
    const NAME: &'static str = "kv_attention";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let (qkv, table) = match all {
            [qkv] => (qkv, None),
            [qkv, table] => (qkv, Some(table)),
            _ => {
                return Err(Error::internal(format!(
                    "{} inputs, expected qkv and perhaps a table",
                    all.len()
                )));
            }
        };
        expect_type("qkv", qkv, &[DType::F32, DType::BF16])?;
        if qkv.dtype == DType::BF16 && self.cache.dtype() != DType::BF16 {
            return Err(Error::unsupported(format!("qkv is {qkv} beside a cache of {}", self.cache.dtype())));
        }
        let [b, t, packed] = dims("qkv", qkv)?;
        let [layers, rows, heads, capacity, head_dim] = self.cache.extents();
        let d = heads * head_dim;
        if b != rows || packed != 3 * d {
            return Err(Error::invalid(format!("qkv is {qkv}, the cache expects [{rows}, t, {}]", 3 * d)));
        }
        if self.layer >= layers {
            return Err(Error::invalid(format!("layer {} of {layers}", self.layer)));
        }
        if self.position > self.cache.len() {
            return Err(Error::invalid(format!(
                "position {} after {} cached ones",
                self.position,
                self.cache.len()
            )));
        }
        if self.position.checked_add(t).is_none_or(|end| end > capacity) {
            return Err(Error::invalid(format!(
                "positions {}..+{t} of a cache of {capacity}",
                self.position
            )));
        }
        if let Some(table) = table {
            let turns = matches!(table.shape[..], [rows, pairs, 2] if rows >= self.position + t && 2 * pairs == head_dim);
            if table.dtype != DType::F32 || !turns {
                return Err(Error::invalid(format!(
                    "the rotary table is {table}, expected f32 (at least {}, {head_dim} / 2, 2)",
                    self.position + t
                )));
            }
        }
        Ok([Desc::plain([b, t, d], qkv.dtype)])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let [_, rows, heads, _, head_dim] = self.cache.extents();
        let (d, t) = ((heads * head_dim) as f64, all[0].shape[1] as f64);
        let seen = self.position as f64 + (t + 1.0) / 2.0;
        let cached = (self.position as f64 + t) * 2.0 * d * self.cache.dtype().size() as f64;
        Cost { flops: 4.0 * rows as f64 * t * seen * d, bytes: rows as f64 * (cached + 16.0 * t * d) }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::kv_attention(self, cx, cuda, all, &mut outputs[0])?,
            Device::Cpu(_) if all[0].dtype() != DType::F32 => {
                return Err(cx.unsupported(Self::NAME, all[0].desc()));
            }
            Device::Cpu(_) if self.at.is_some() => {
                return Err(Error::unsupported("kv_attention on cpu, at a place that only a device knows"));
            }
            Device::Cpu(cpu) => cpu::kv_attention(self, cx, cpu, all, &mut outputs[0])?,
        }
        if self.at.is_none() {
            self.cache.set_len(self.position + all[0].shape()[1]);
        }
        Ok(())
    }
}
