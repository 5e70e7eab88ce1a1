use super::int8::scale_name;
use super::listing::{FileType, Info, Listing};
use crate::error::{Error, Result};
use crate::tensor::DType;
use std::collections::BTreeSet;

/// Names that a message lists before it only counts.
const SHOWN: usize = 4;

/// The tensors that a model needs, with their shapes, in the order of the computation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    tensors: Vec<(String, Vec<usize>)>,
    /// Those that may be in bytes, with the scales of their rows beside them.
    matrices: BTreeSet<String>,
}

const BYTES: FileType = FileType::Known(DType::I8);
const FLOATS: FileType = FileType::Known(DType::F32);

/// How a file differs from a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Needed, and not in the file, with the shape it should have.
    pub missing: Vec<(String, Vec<usize>)>,
    /// Of another shape, or of a type that weights cannot have: as it is, and the shape it should have.
    pub wrong: Vec<(String, Info, Vec<usize>)>,
    /// In the file, and not needed.
    pub left_over: Vec<String>,
}

impl Manifest {
    /// Adds one tensor.
    pub fn tensor(&mut self, name: impl Into<String>, shape: &[usize]) {
        self.tensors.push((name.into(), shape.to_vec()));
    }

    /// Adds a matrix (n, k), which may also be in bytes with the scales of its rows: see [`super::quantize`].
    pub fn matrix(&mut self, name: impl Into<String>, extents: [usize; 2]) {
        let name = name.into();
        self.matrices.insert(name.clone());
        self.tensor(name, &extents);
    }

    /// Whether a tensor is one that may be in bytes.
    pub fn is_matrix(&self, name: &str) -> bool {
        self.matrices.contains(name)
    }

    /// Adds `name.weight` and `name.bias`, which has the weight's first extent.
    pub fn layer(&mut self, name: impl std::fmt::Display, weight: &[usize]) {
        self.tensor(format!("{name}.weight"), weight);
        self.tensor(format!("{name}.bias"), &weight[..1]);
    }

    /// Names and shapes.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(name, shape)| (name.as_str(), shape.as_slice()))
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether nothing is needed.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Number of elements of all tensors.
    pub fn parameters(&self) -> u64 {
        let count = |shape: &[usize]| shape.iter().fold(1u64, |n, &e| n.saturating_mul(e as u64));
        self.tensors.iter().fold(0, |n, (_, shape)| n.saturating_add(count(shape)))
    }

    /// What is missing in a file, wrong, or left over.
    pub fn compare(&self, file: &Listing) -> Comparison {
        let mut found = Comparison::default();
        let mut scales = BTreeSet::new();
        for (name, shape) in self.iter() {
            match file.get(name) {
                Some(info) if self.is_matrix(name) && info.shape == shape && info.dtype == BYTES => {
                    let (scale, rows) = (scale_name(name), vec![shape[0]]);
                    match file.get(&scale) {
                        None => found.missing.push((scale.clone(), rows)),
                        Some(info) if info.dtype != FLOATS || info.shape != rows => {
                            found.wrong.push((scale.clone(), info.clone(), rows));
                        }
                        Some(_) => {}
                    }
                    scales.insert(scale);
                }
                None => found.missing.push((name.into(), shape.into())),
                Some(info) if !info.dtype.is_weight() || info.shape != shape => {
                    found.wrong.push((name.into(), info.clone(), shape.into()));
                }
                Some(_) => {}
            }
        }
        let needed: BTreeSet<&str> = self.tensors.iter().map(|(name, _)| name.as_str()).collect();
        let known = |name: &&str| needed.contains(name) || scales.contains(*name);
        found.left_over = file.names().filter(|name| !known(name)).map(String::from).collect();
        found
    }

    /// Whether a file has all that is needed.
    ///
    /// # Errors
    /// `Format`: names what is missing, or the first tensor that is not what it should be.
    pub fn check(&self, file: &Listing) -> Result<()> {
        let found = self.compare(file);
        if let Some((name, info, shape)) = found.wrong.first() {
            return Err(Error::format(format!(
                "tensor {name} is {info}, expected f32, f16 or bf16 {shape:?}"
            )));
        }
        if !found.missing.is_empty() {
            let names: Vec<_> = found.missing.iter().take(SHOWN).map(|(name, _)| name.as_str()).collect();
            let more = found.missing.len() - names.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            return Err(Error::format(format!(
                "{} of {} tensors missing: {}{more}",
                found.missing.len(),
                self.len(),
                names.join(", ")
            )));
        }
        Ok(())
    }
}
