use super::Views;
use crate::error::{Context, Error, Result};
use crate::tensor::{DType, Desc};
use crate::weights::{Metadata, Source};

/// What a file of codes is about: all of its header but the number of pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Names of the classes, by label.
    pub classes: Vec<String>,
    /// Which views of each picture.
    pub views: Views,
    /// Rows of the grid.
    pub height: usize,
    /// Columns of the grid.
    pub width: usize,
    /// Names of the sub-codebooks, in the order of codes.
    pub branches: Vec<String>,
    /// Codes of a sub-codebook, N; every code is less.
    pub codebook_size: usize,
    /// Which part of the pictures, from 0, and of how many parts.
    pub shard: (usize, usize),
    /// What tells these pictures and this tokenizer from others; a file that was begun is only gone on with when it is
    /// the same.
    pub origin: String,
}

/// The version of the format.
const VERSION: &str = "1";
/// The label of a picture that could not be read, and no code.
pub(super) const NONE: u32 = u32::MAX;

impl About {
    /// Sub-codebooks, k.
    pub fn k(&self) -> usize {
        self.branches.len()
    }

    /// Positions of the grid.
    pub fn positions(&self) -> usize {
        self.height * self.width
    }

    /// Codes of a view.
    pub fn view_len(&self) -> usize {
        self.positions() * self.k()
    }

    /// Codes of a picture, all views.
    pub fn picture_len(&self) -> usize {
        self.views.count() * self.view_len()
    }

    /// What `shard` means of `pictures`.
    pub fn part(&self, pictures: usize) -> std::ops::Range<usize> {
        let (shard, of) = self.shard;
        let at = |i: usize| (pictures as u128 * i as u128 / of as u128) as usize;
        at(shard)..at(shard + 1)
    }

    /// The tensors of a file of `pictures`, in order.
    pub(super) fn tensors(&self, pictures: usize) -> [(&'static str, Desc); 2] {
        let dtype = if self.codebook_size <= 1 << 16 { DType::U16 } else { DType::U32 };
        let shape = [pictures, self.views.count(), self.positions(), self.k()];
        [("labels", Desc::plain([pictures], DType::U32)), ("codes", Desc::plain(shape, dtype))]
    }

    /// The header's strings.
    pub(super) fn metadata(&self) -> Metadata {
        let (shard, of) = self.shard;
        let pairs = [
            ("codes", VERSION.to_string()),
            ("classes", self.classes.join("\n")),
            ("views", self.views.name().to_string()),
            ("grid_height", self.height.to_string()),
            ("grid_width", self.width.to_string()),
            ("branches", self.branches.join("\n")),
            ("codebook_size", self.codebook_size.to_string()),
            ("shard", format!("{shard}/{of}")),
            ("origin", self.origin.clone()),
        ];
        pairs.into_iter().map(|(key, value)| (format!("fqgan.{key}"), value)).collect()
    }

    /// What a file says.
    ///
    /// # Errors
    /// `Format` when it says nothing, or what cannot be.
    pub(super) fn read(source: &Source) -> Result<About> {
        let text = |key: &str| {
            source.metadata(&format!("fqgan.{key}")).ok_or_else(|| {
                Error::format(format!("{}: no file of codes: its header has no fqgan.{key}", source.name()))
            })
        };
        let bad = |key: &str, value: &str, expected: &str| {
            Error::format(format!("{}: fqgan.{key} is {value:?}, expected {expected}", source.name()))
        };
        let number = |key: &str| {
            let value = text(key)?;
            let number = value.parse().ok().filter(|n| (1..=1usize << 32).contains(n));
            number.ok_or_else(|| bad(key, value, "a positive number"))
        };
        match text("codes")? {
            VERSION => {}
            other => return Err(bad("codes", other, &format!("version {VERSION}"))),
        }
        let lines = |key: &str| Ok(text(key)?.split('\n').map(str::to_string).collect::<Vec<_>>());
        let shard = text("shard")?;
        let pair = shard.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        let about = About {
            classes: lines("classes")?,
            views: Views::from_name(text("views")?).context(|| source.name())?,
            height: number("grid_height")?,
            width: number("grid_width")?,
            branches: lines("branches")?,
            codebook_size: number("codebook_size")?,
            shard: pair
                .filter(|&(i, n): &(usize, usize)| i < n)
                .ok_or_else(|| bad("shard", shard, "I/N, I less than N"))?,
            origin: text("origin")?.to_string(),
        };
        about.check().context(|| source.name())?;
        Ok(about)
    }

    /// Whether such a file can be.
    ///
    /// # Errors
    /// `InvalidArgument` when a size is 0 or too large to address, or a name holds the end of a line.
    pub fn check(&self) -> Result<()> {
        let sizes = [self.classes.len(), self.height, self.width, self.k(), self.codebook_size, self.shard.1];
        if sizes.contains(&0) || self.shard.0 >= self.shard.1 {
            return Err(Error::invalid(
                "classes, grid, sub-codebooks, their codes and shards: at least 1 of each",
            ));
        }
        if sizes.iter().any(|&size| size > 1 << 32)
            || self.height.checked_mul(self.width).and_then(|n| n.checked_mul(self.k() * 40)).is_none()
        {
            return Err(Error::invalid("the grid of codes is too large to address"));
        }
        match self.classes.iter().chain(&self.branches).find(|name| name.contains('\n')) {
            Some(name) => Err(Error::invalid(format!("the name {name:?} holds the end of a line"))),
            None => Ok(()),
        }
    }
}
