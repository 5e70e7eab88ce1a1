use std::fmt;
use std::ops::Deref;

/// The most axes a tensor can have.
pub const MAX_RANK: usize = 6;

/// Extents of up to [`MAX_RANK`] axes, outermost first, kept inline so that a shape costs no allocation.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    extents: [usize; MAX_RANK],
    rank: u8,
}

impl Shape {
    /// A shape from a slice; `None` past [`MAX_RANK`] axes.
    pub fn try_from_slice(extents: &[usize]) -> Option<Shape> {
        let mut all = [0; MAX_RANK];
        all.get_mut(..extents.len())?.copy_from_slice(extents);
        Some(Shape { extents: all, rank: extents.len() as u8 })
    }

    /// Changes the innermost extent, if there is one.
    pub fn set_last(&mut self, extent: usize) {
        if let Some(last) = self.extents[..self.rank as usize].last_mut() {
            *last = extent;
        }
    }

    /// Number of elements. For shapes that already passed [`Shape::checked_count`].
    pub fn count(&self) -> usize {
        self.iter().product()
    }

    /// Number of elements, or `None` when it does not fit in a `usize`.
    pub fn checked_count(&self) -> Option<usize> {
        self.iter().try_fold(1usize, |n, &e| n.checked_mul(e))
    }

    /// The extents as an array when there are exactly `N`.
    pub fn dims<const N: usize>(&self) -> Option<[usize; N]> {
        self.deref().try_into().ok()
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.extents[..self.rank as usize]
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(extents: [usize; N]) -> Shape {
        const { assert!(N <= MAX_RANK) }
        Shape::try_from_slice(&extents).unwrap_or(Shape { extents: [0; MAX_RANK], rank: 0 })
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.deref())
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
