//! How the tiles of a convolution are cut, and what stands where.

use super::scheme::Scheme;
use crate::ops::conv2d::Geometry;
use crate::ops::conv2d::cpu::Job;
use crate::ops::tile::{Operand, PANEL};

/// Channels that are staged and transformed at once: memory is read in runs of this length.
pub const CHUNK: usize = 128;
/// Bytes of a unit's transformed pixels and one panel's products, to stay in the second cache.
const WORK: usize = 840 << 10;
/// Bytes of filters up to which every unit may read them again from the last cache.
const NEAR: usize = 16 << 20;

/// At least so many elements of `size` bytes, an odd number of cache lines: what lies at such a distance does not
/// compete for the same places of a cache.
pub const fn odd(elements: usize, size: usize) -> usize {
    let line = 64 / size;
    (elements.div_ceil(line) / 2 * 2 + 1) * line
}

/// Floats from one product's plane of `tiles` tiles of a panel to the next.
pub const fn sums(tiles: usize) -> usize {
    odd(tiles * PANEL, size_of::<f32>())
}

/// A rectangle of tiles of one image: `rows` x `cols` of them from tile (y, x) on.
#[derive(Clone, Copy)]
pub struct Unit {
    pub image: usize,
    pub y: usize,
    pub x: usize,
    pub rows: usize,
    pub cols: usize,
}

/// The tiles of an image in units. It depends on the shapes alone, so sums over a unit do not on the threads.
#[derive(Clone, Copy)]
pub struct Cut {
    /// Tiles of an image, and of a unit.
    tiles: [usize; 2],
    unit: [usize; 2],
    /// Units of an image.
    down: usize,
    across: usize,
}

impl Cut {
    pub fn new<W: Scheme, O: Operand>(g: &Geometry) -> Cut {
        let tiles = [g.oh.div_ceil(W::OUT), g.ow.div_ceil(W::OUT)];
        let inputs = W::INPUTS * W::INPUTS * g.c * size_of::<O>();
        let products = W::PRODUCTS * W::PRODUCTS * PANEL * size_of::<f32>();
        let side = match WORK / (inputs + products) {
            64.. => [8, 8],
            32.. => [4, 8],
            _ => [4, 4],
        };
        let cols = tiles[1].min(side[1]).max(1);
        let rows = tiles[0].min(side[0] * side[1] / cols).max(1);
        let cols = tiles[1].min(side[0] * side[1] / rows).max(1);
        let (down, across) = (tiles[0].div_ceil(rows), tiles[1].div_ceil(cols));
        // Units of one size, rather than a last one that is nearly empty.
        let unit = [tiles[0].div_ceil(down.max(1)), tiles[1].div_ceil(across.max(1))];
        Cut { tiles, unit, down, across }
    }

    /// Units of an image.
    pub fn of_image(&self) -> usize {
        self.down * self.across
    }

    /// The most tiles of a unit.
    pub fn most(&self) -> usize {
        self.unit[0] * self.unit[1]
    }

    /// One unit, counted over all images. The last ones of an image may be smaller, or empty where the extents
    /// divide badly.
    pub fn unit(&self, index: usize) -> Unit {
        let (image, index) = (index / self.of_image(), index % self.of_image());
        let y = (index / self.across * self.unit[0]).min(self.tiles[0]);
        let x = (index % self.across * self.unit[1]).min(self.tiles[1]);
        let (rows, cols) = (self.unit[0].min(self.tiles[0] - y), self.unit[1].min(self.tiles[1] - x));
        if rows * cols == 0 {
            return Unit { image, y, x, rows: 0, cols: 0 };
        }
        Unit { image, y, x, rows, cols }
    }
}

/// What the schedules go by.
#[derive(Clone, Copy)]
pub struct Plan {
    pub cut: Cut,
    /// Units in all.
    pub units: usize,
    /// Elements from a tile's channels to the next tile's.
    pub step: usize,
    /// Floats of a unit's pixels, of CHUNK channels.
    pub patch: usize,
    /// Panels of output channels.
    pub panels: usize,
    /// All threads work on the same units.
    pub shared: bool,
    /// Outputs go past the caches.
    pub far: bool,
}

impl Plan {
    pub fn new<W: Scheme, O: Operand>(job: &Job<'_>) -> Plan {
        let g = &job.g;
        let cut = Cut::new::<W, O>(g);
        let side = |n: usize| (n - 1) * W::STEP + W::PIXELS;
        let units = g.n * cut.of_image();
        let filters = W::TERMS * W::TERMS * g.c * g.k * size_of::<O>();
        Plan {
            cut,
            units,
            step: odd(g.c, size_of::<O>()),
            patch: side(cut.unit[0]) * side(cut.unit[1]) * CHUNK,
            panels: g.k.div_ceil(PANEL),
            shared: filters > NEAR || units < 2 * job.cpu.pool.threads(),
            far: g.far(),
        }
    }

    /// Elements from one transformed pixel's plane of `tiles` tiles to the next.
    pub fn plane<O: Operand>(&self, tiles: usize) -> usize {
        odd(tiles * self.step, size_of::<O>())
    }
}
