use super::proto;
use crate::error::{Error, Result};

/// The elements of a constant.
pub enum Elements {
    Floats(Vec<f32>),
    Numbers(Vec<i32>),
}

/// A constant and its extents.
pub struct Constant {
    pub shape: Vec<usize>,
    pub elements: Elements,
}

impl Constant {
    /// What a message says: its bytes, or its list of values, of which the last stands for all that are missing.
    pub fn read(tensor: &proto::Tensor) -> Result<Constant> {
        let dims = tensor.shape.iter().flat_map(|shape| &shape.dim);
        let shape = dims.map(|dim| usize::try_from(dim.size).ok()).collect::<Option<Vec<_>>>();
        let count = shape.as_ref().and_then(|s| s.iter().try_fold(1usize, |a, &b| a.checked_mul(b)));
        let (Some(shape), Some(count)) = (shape, count.filter(|&n| n <= 1 << 28)) else {
            return Err(Error::format("a constant of no size"));
        };
        let elements = match tensor.dtype {
            1 => Elements::Floats(all(&tensor.content, f32::from_le_bytes, &tensor.float_val, count)?),
            3 => Elements::Numbers(all(&tensor.content, i32::from_le_bytes, &tensor.int_val, count)?),
            other => return Err(Error::unsupported(format!("a constant of type {other}"))),
        };
        Ok(Constant { shape, elements })
    }

    /// f32 of this shape; any extent where it says `None`.
    pub fn floats(self, shape: &[Option<usize>]) -> Result<(Vec<usize>, Vec<f32>)> {
        let fits = self.shape.len() == shape.len()
            && self.shape.iter().zip(shape).all(|(have, want)| want.is_none_or(|want| want == *have));
        match self.elements {
            Elements::Floats(values) if fits => Ok((self.shape, values)),
            _ => Err(Error::format(format!("a constant {:?}, expected {shape:?} of f32", self.shape))),
        }
    }

    /// i32.
    pub fn numbers(self) -> Result<Vec<i32>> {
        match self.elements {
            Elements::Numbers(values) => Ok(values),
            Elements::Floats(_) => Err(Error::format("a constant of f32, expected i32")),
        }
    }
}

fn all<T: Copy>(content: &[u8], read: fn([u8; 4]) -> T, values: &[T], count: usize) -> Result<Vec<T>> {
    if !content.is_empty() {
        let (words, rest) = content.as_chunks::<4>();
        if words.len() != count || !rest.is_empty() {
            return Err(Error::format(format!("a constant of {count} elements has {} bytes", content.len())));
        }
        return Ok(words.iter().map(|&word| read(word)).collect());
    }
    match values {
        [.., last] if values.len() <= count => {
            let mut all = values.to_vec();
            all.resize(count, *last);
            Ok(all)
        }
        _ if count == 0 => Ok(Vec::new()),
        _ => Err(Error::format(format!("a constant of {count} elements has {} values", values.len()))),
    }
}
