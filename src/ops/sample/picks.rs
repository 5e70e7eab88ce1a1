use super::Sample;
use crate::error::{Error, Result};
use crate::exec::Cx;
use crate::tensor::{DType, Desc, Tensor};
use std::cell::{Ref, RefCell};

/// The codes of images in the making, in the memory of the device that draws them: those of the last position, that the
/// next is made of, and those of all positions that were drawn. A guided image has two rows, its own and its null class's,
/// which have the same codes.
pub struct Picks {
    /// Position that is drawn next, (1).
    pub(super) place: RefCell<Tensor>,
    /// (rows, 1, k)
    pub(super) last: RefCell<Tensor>,
    /// (positions, images, k)
    pub(super) all: RefCell<Tensor>,
    /// The first place whose logits were not finite, if any: its position, 24 bits, sub-code, 8, and image, 32. A device
    /// notes it, the processor says so at once.
    pub(super) wrong: RefCell<Tensor>,
}

impl Picks {
    /// Room for the codes of `images`, which take so many `rows`, of `positions` of k sub-codes; the first position is
    /// next.
    ///
    /// # Errors
    /// `OutOfMemory`, `Device`.
    pub fn new(cx: Cx<'_>, [rows, images]: [usize; 2], [positions, k]: [usize; 2]) -> Result<Picks> {
        let room = |shape: [usize; 3]| Ok(RefCell::new(cx.workspace.tensor(Desc::plain(shape, DType::U32))?));
        let none = |wrong: &mut [i64]| {
            wrong.fill(-1);
            Ok(())
        };
        let first = |place: &mut [u32]| {
            place.fill(0);
            Ok(())
        };
        Ok(Picks {
            place: RefCell::new(cx.written([1], first)?),
            last: room([rows, 1, k])?,
            all: room([positions, images, k])?,
            wrong: RefCell::new(cx.written([1], none)?),
        })
    }

    /// Goes to a position; the codes of the one before, (rows, k), are written by `last`.
    ///
    /// # Errors
    /// `OutOfMemory`, `Device`.
    pub fn go_to(&self, cx: Cx<'_>, position: usize, last: impl FnOnce(&mut [u32])) -> Result<()> {
        let mut to = self.last.try_borrow_mut().map_err(busy)?;
        cx.rewrite(&mut to, last)?;
        let mut to = self.place.try_borrow_mut().map_err(busy)?;
        cx.rewrite(&mut to, |place: &mut [u32]| place.fill(position as u32))
    }

    /// The position that is drawn next, (1) u32.
    pub fn place(&self) -> Ref<'_, Tensor> {
        self.place.borrow()
    }

    /// The codes of the last position, (rows, 1, k) u32.
    pub fn last(&self) -> Ref<'_, Tensor> {
        self.last.borrow()
    }

    /// The codes (positions, images, k) of all positions, where the processor can read them; those that were not drawn are
    /// unspecified. Waits for what is under way. `sample` is what they were drawn with.
    ///
    /// # Errors
    /// `Format` when logits were not finite; `OutOfMemory`, `Device`.
    pub fn read(&self, cx: Cx<'_>, sample: &Sample) -> Result<Tensor> {
        let wrong = cx.download(&self.wrong.borrow())?.data::<i64>()?[0];
        if let Ok(wrong) = u64::try_from(wrong) {
            let (position, sub_code) = ((wrong >> 40) as u32, (wrong >> 32) as u32 & 255);
            return Err(Sample { position, sub_code, ..*sample }.not_finite(wrong as u32 as usize));
        }
        cx.download(&self.all.borrow())
    }
}

/// The error of a second use at the same time.
pub(super) fn busy<E>(_: E) -> Error {
    Error::internal("the codes are in use")
}
