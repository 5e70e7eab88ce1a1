//! The Inception v3 that distances of pictures are measured with (Szegedy et al., 2015; TensorFlow's weights of
//! 2015-12-05), as two programs have it. Their figures differ, so whoever shows one says whose it is.

#[cfg(feature = "eval")]
mod graph;
mod network;
mod torch;

use crate::error::Result;
use crate::exec::Exec;
use crate::nn::Linear;
use crate::ops::concat::Columns;
use crate::weights::Source;
use network::Network;

/// Whose Inception it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// The package pytorch-fid's: resized bilinearly from pixel centres, fed 2x - 1.
    PytorchFid,
    /// That of ADM's evaluation (Dhariwal and Nichol, 2021): the graph TensorFlow published, with its own resizing (by
    /// corners), fed (x - 128) / 128.
    Adm,
}

impl Variant {
    /// `"pytorch-fid"`, to stand beside a figure.
    pub const fn name(self) -> &'static str {
        match self {
            Variant::PytorchFid => "pytorch-fid",
            Variant::Adm => "ADM",
        }
    }
}

/// The network.
pub struct Inception {
    variant: Variant,
    network: Network,
    classes: Linear,
    fingerprint: u32,
}

/// What Inception says of pictures.
pub struct Judgement<V> {
    /// (n, 2048): the mean of the last activations, `pool3`.
    pub features: V,
    /// (n, 17 * 17 * 7): the first channels of the sixth mixed block's first branch, of which sFID is made.
    pub spatial: V,
    /// (n, 1008): without the bias, as the inception score wants them before its softmax.
    pub logits: V,
}

impl Inception {
    /// Elements of a feature.
    pub const WIDTH: usize = 2048;
    /// Elements of a spatial feature.
    pub const SPATIAL: usize = 17 * 17 * CHANNELS;
    /// Classes, some of which stand for none.
    pub const CLASSES: usize = 1008;

    /// The network of pytorch-fid: `Conv2d_1a_3x3.conv.weight` to `fc.weight`.
    ///
    /// # Errors
    /// `Format` when a weight is missing or has a wrong shape; `OutOfMemory`.
    pub fn open(source: &Source) -> Result<Inception> {
        let (network, classes) = torch::open(source)?;
        Ok(Inception { variant: Variant::PytorchFid, network, classes, fingerprint: source.fingerprint()? })
    }

    /// The network in a file: a TensorFlow graph by the name of `.pb` is ADM's, all else pytorch-fid's.
    ///
    /// # Errors
    /// `Io`; as [`Inception::open`]; `Unsupported` for a graph with operations that Inception has not.
    #[cfg(feature = "eval")]
    pub fn load(path: impl AsRef<std::path::Path>) -> Result<Inception> {
        let path = path.as_ref();
        if !path.extension().is_some_and(|e| e.eq_ignore_ascii_case("pb")) {
            return Inception::open(&Source::open(path, crate::weights::Map::On)?);
        }
        let (network, classes, fingerprint) = graph::open(path)?;
        Ok(Inception { variant: Variant::Adm, network, classes, fingerprint })
    }

    /// Whose it is.
    pub fn variant(&self) -> Variant {
        self.variant
    }

    /// CRC-32 of its weights: whether two are the same.
    pub fn fingerprint(&self) -> u32 {
        self.fingerprint
    }

    /// What it says of pictures (n, H, W, 3) in \[-1, 1\], of any size.
    ///
    /// # Errors
    /// The operations'.
    pub fn judge<E: Exec>(&self, e: &E, pictures: &E::Value) -> Result<Judgement<E::Value>> {
        let [pooled, places] = self.network.run(e, pictures)?;
        let n = e.desc(pictures).shape[0];
        let features = e.reshape(&pooled, &[n, Inception::WIDTH])?;
        let [few] = e.apply(Columns { first: 0, count: CHANNELS }, &[&places])?;
        let spatial = e.reshape(&few, &[n, Inception::SPATIAL])?;
        let logits = self.classes.forward(e, &features)?;
        Ok(Judgement { features, spatial, logits })
    }
}

/// Channels of the spatial features.
const CHANNELS: usize = 7;
