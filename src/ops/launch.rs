//! What the launches of kernels share: how work is cut, as `cuda/elementwise.cuh`, `cuda/tile.cuh` and
//! `cuda/rows.cuh` cut it, and how a kernel says that its data is wrong.

use crate::backend::cuda::{Arg, Cuda, Launch};
use crate::error::{Error, Result};
use crate::exec::Cx;
use crate::ops::check::dims;
use crate::tensor::{DType, Desc, Tensor};

/// Threads of a block of an elementwise kernel, and of one that stands over rows of channels.
pub const THREADS: usize = 256;
/// Elements of f32 that a thread reads at once: 16 bytes.
pub const TOGETHER: usize = 4;

/// A size as a kernel's `int`.
///
/// # Errors
/// `InvalidArgument` past 2^31 - 1.
pub fn int(size: usize) -> Result<Arg> {
    let size = i32::try_from(size);
    size.map(Arg::from).map_err(|_| Error::invalid("a size past 2^31 - 1, expected a smaller one on a GPU"))
}

/// The kernel for values of that type, of the two that an operation has.
pub fn typed(dtype: DType, [f32, bf16]: [&'static str; 2]) -> &'static str {
    if dtype == DType::BF16 { bf16 } else { f32 }
}

/// A thread for each 16 bytes of `count` elements of f32: as good for narrower ones, half of whose threads find nothing.
pub fn map(count: usize) -> Launch {
    Launch::over(count.div_ceil(TOGETHER), THREADS as u32)
}

/// How a block stands over rows of c channels of elements of `size` bytes: `Tile` of `cuda/tile.cuh`.
pub struct Tile {
    /// Rows that a block does at once.
    step: usize,
    /// Blocks that share a row.
    tiles: usize,
}

impl Tile {
    pub fn new(c: usize, size: usize) -> Tile {
        let together = 16 / size;
        let groups = if c.is_multiple_of(together) { c / together } else { c };
        Tile { step: (THREADS / groups.clamp(1, THREADS)).max(1), tiles: groups.div_ceil(THREADS) }
    }

    /// Rows that a block does where nothing is summed: eight turns.
    pub fn rows(&self) -> usize {
        8 * self.step
    }

    /// Blocks for all of `rows` rows, `each` a block, `pictures` times.
    pub fn launch(&self, rows: usize, each: usize, pictures: usize) -> Launch {
        let launch = Launch::blocks(rows.div_ceil(each.max(1)), THREADS as u32);
        Launch { grid: [launch.grid[0], pictures.min(65535) as u32, self.tiles as u32], ..launch }
    }
}

/// Warps of a block that has a row a warp (`cuda/rows.cuh`).
const ROW_WARPS: usize = 4;

/// A warp a row.
pub fn warp_rows(rows: usize) -> Launch {
    Launch::blocks(rows.div_ceil(ROW_WARPS), 32 * ROW_WARPS as u32)
}

/// Elements of which a block of a sum makes one number of f64 (`PART` of `cuda/elementwise.cuh`).
pub const PART: usize = 4096;

/// Arguments one after the other, and how many they are: at most 16.
fn list(all: impl Iterator<Item = Result<Arg>>) -> Result<([Arg; 16], usize)> {
    let (mut args, mut taken) = ([Arg::NONE; 16], 0);
    for arg in all {
        *args.get_mut(taken).ok_or_else(|| Error::internal("more than 16 arguments"))? = arg?;
        taken += 1;
    }
    Ok((args, taken))
}

/// The sum over all of `count` elements times a factor, or the root of that: `kernel` takes `inputs`, the parts, the count
/// and `more`.
pub fn sum(
    cx: Cx<'_>,
    cuda: &Cuda,
    (kernel, inputs, more): (&str, &[&Tensor], &[Arg]),
    (factor, root): (f64, bool),
    out: &mut Tensor,
) -> Result<()> {
    let count = inputs[0].shape().count();
    let parts = count.div_ceil(PART);
    let mut part = cx.workspace.tensor(Desc::plain([parts.max(1)], DType::F64))?;
    let all = inputs.iter().map(|input| Arg::read(input));
    let all = all.chain([Arg::write(&mut part), Ok(count.into())]).chain(more.iter().map(|arg| Ok(*arg)));
    let (args, taken) = list(all)?;
    cuda.launch(kernel, Launch::blocks(parts, THREADS as u32), &args[..taken])?;
    finish(cuda, &part, parts, (factor, root), out)
}

/// The sum of some numbers of f64 times a factor, or the root of that.
pub fn finish(
    cuda: &Cuda,
    part: &Tensor,
    parts: usize,
    (factor, root): (f64, bool),
    out: &mut Tensor,
) -> Result<()> {
    let args = [Arg::read(part)?, parts.into(), factor.into(), i32::from(root).into(), Arg::write(out)?];
    cuda.launch("fqgan_mean_finish_f32", Launch::blocks(1, THREADS as u32), &args)
}

/// Writes one value to all elements of a tensor of f32.
///
/// # Errors
/// The launch's.
pub fn fill(cuda: &Cuda, to: &mut Tensor, value: f32) -> Result<()> {
    let count = to.shape().count();
    let args = [Arg::write(to)?, value.to_bits().into(), count.into()];
    cuda.launch("fqgan_convert_fill_u32", Launch::over(count, THREADS as u32), &args)
}

/// Where a kernel notes the first place at which its data is wrong.
pub struct Wrong(Tensor);

impl Wrong {
    pub fn new(cx: Cx<'_>, cuda: &Cuda) -> Result<Wrong> {
        let mut word = cx.workspace.tensor(Desc::plain([1], DType::I64))?;
        let args = [Arg::write(&mut word)?, u32::MAX.into(), 2usize.into()];
        cuda.launch("fqgan_convert_fill_u32", Launch::blocks(1, THREADS as u32), &args)?;
        Ok(Wrong(word))
    }

    pub fn arg(&mut self) -> Result<Arg> {
        Arg::write(&mut self.0)
    }

    /// The place, if there is one. Waits for the kernel, unless a graph is being captured: then nothing runs, and
    /// nothing is known.
    pub fn first(self, cx: Cx<'_>, cuda: &Cuda) -> Result<Option<usize>> {
        if cuda.capturing() {
            return Ok(None);
        }
        let word = cx.download(&self.0)?.data::<i64>()?[0];
        Ok(usize::try_from(word).ok())
    }
}

/// Rows that a block of a norm's rule takes one after the other, and its threads at most (`cuda/rows.cuh`).
const ROWS_OF_BLOCK: usize = 64;
/// Bytes of shared memory that every block may have.
const SHARED: usize = 48 << 10;

/// Blocks of a norm's rule, that keep `sums` numbers of each of c channels.
///
/// # Errors
/// `Unsupported` where they do not fit.
pub fn rule_rows(rows: usize, c: usize, sums: usize) -> Result<Launch> {
    let groups = if c.is_multiple_of(TOGETHER) { c / TOGETHER } else { c };
    let threads = groups.next_multiple_of(32).min(THREADS) as u32;
    // Beside them, what sums over a block take.
    if 4 * sums * c + 256 > SHARED {
        return Err(Error::unsupported(format!("the gradient of a norm over {c} channels on a GPU")));
    }
    Ok(Launch::blocks(rows.div_ceil(ROWS_OF_BLOCK), threads).shared(4 * sums * c))
}

/// Starts that kernel of two which is for x's type and goes through the pixels of `out` (n, rows, columns, c), each made of
/// some of x (n, h, w, c): its arguments are those of `cuda/resize.cu`, then `more`.
pub fn pixels(
    cuda: &Cuda,
    kernels: [&'static str; 2],
    x: &Tensor,
    out: &mut Tensor,
    more: &[Arg],
) -> Result<()> {
    let ([_, h, w, _], [n, rows, columns, c]) = (dims("x", x.desc())?, dims("output", out.desc())?);
    let tile = Tile::new(c, x.dtype().size());
    // A kernel divides places by 32-bit numbers.
    let pixels = n * rows * columns;
    int(pixels)?;
    let sizes = [pixels.into(), int(tile.rows())?, int(h)?, int(w)?, int(rows)?, int(columns)?, int(c)?];
    let all = [Arg::read(x), Arg::write(out)].into_iter().chain(sizes.iter().chain(more).map(|arg| Ok(*arg)));
    let (args, taken) = list(all)?;
    cuda.launch(typed(x.dtype(), kernels), tile.launch(pixels, tile.rows(), 1), &args[..taken])
}
