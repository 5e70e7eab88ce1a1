use super::config::Config;
use crate::backend::Workspace;
use crate::error::Result;
use crate::ops::kv_attention::Cache;
use crate::tensor::DType;

/// What a batch of sequences remembers: keys and values of the backbone for each position so far, and of the
/// head for the sub-codes of the position in hand.
pub struct KvCache {
    /// The backbone's, one position after the other.
    pub backbone: Cache,
    /// The head's, k slots that every position fills anew; `rows` may be a multiple of the backbone's.
    pub head: Cache,
}

impl KvCache {
    /// An empty cache for `rows` sequences of up to `positions`, whose head does `abreast` positions at once.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn new(
        workspace: &Workspace,
        config: &Config,
        rows: usize,
        positions: usize,
        abreast: usize,
        dtype: DType,
    ) -> Result<KvCache> {
        let [backbone, head] = extents(config, rows, positions, abreast);
        Ok(KvCache {
            backbone: Cache::new(workspace, backbone, dtype)?,
            head: Cache::new(workspace, head, dtype)?,
        })
    }

    /// Bytes of such a cache.
    pub fn bytes(config: &Config, rows: usize, positions: usize, abreast: usize, dtype: DType) -> usize {
        let all = extents(config, rows, positions, abreast);
        let elements = all.map(|e| e.iter().fold(1usize, |n, &e| n.saturating_mul(e)));
        elements[0].saturating_add(elements[1]).saturating_mul(2 * dtype.size())
    }
}

fn extents(config: &Config, rows: usize, positions: usize, abreast: usize) -> [[usize; 5]; 2] {
    let (heads, head_dim) = (config.heads, config.head_dim());
    [
        [config.layers, rows, heads, positions, head_dim],
        [config.head_layers(), rows.saturating_mul(abreast), heads, config.codebooks, head_dim],
    ]
}
