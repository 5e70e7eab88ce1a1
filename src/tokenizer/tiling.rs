//! Pictures larger than memory allows at once, by overlapping tiles.
//!
//! GroupNorm and attention see one tile at a time, so the codes differ from those of the whole picture, but
//! every tile is of the size that the model was trained for. A cell takes its codes from the tile in which it
//! lies deepest; decoded tiles are blended across their overlaps.

use super::{Grid, Tokenizer};
use crate::error::{Context, Error, Result};
use crate::image::{PixelFormat, View, ViewMut};
use crate::tensor::{Allocate, DType, Desc, HeapAllocator, Tensor};

/// How a picture is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// Side of a tile in pixels, a multiple of the down-sampling factor.
    pub tile: usize,
    /// Pixels that neighbours share at least, a multiple of the down-sampling factor below `tile`.
    pub overlap: usize,
}

impl Tiling {
    /// Tiles of the trained size that share a quarter.
    pub fn trained(tokenizer: &Tokenizer) -> Tiling {
        let (side, f) = (tokenizer.config.image_size, tokenizer.config.downsample());
        Tiling { tile: side, overlap: side / f / 4 * f }
    }
}

/// The tiles along one axis, in cells.
struct Axis {
    starts: Vec<usize>,
    tile: usize,
    count: usize,
}

impl Axis {
    fn new(count: usize, tile: usize, overlap: usize) -> Axis {
        let tile = tile.min(count);
        let tiles = if count > tile { (count - overlap).div_ceil(tile - overlap) } else { 1 };
        let start = |i: usize| if tiles == 1 { 0 } else { i * (count - tile) / (tiles - 1) };
        Axis { starts: (0..tiles).map(start).collect(), tile, count }
    }

    /// How deep a position, in units of which `scale` make a cell, lies in tile `i`: twice the distance of its
    /// centre from the nearer end, an end of the picture being no end. 0 outside.
    fn depth(&self, i: usize, position: usize, scale: usize) -> usize {
        let (start, end) = (self.starts[i] * scale, (self.starts[i] + self.tile) * scale);
        if position < start || position >= end {
            return 0;
        }
        let before = if start == 0 { usize::MAX } else { 2 * (position - start) + 1 };
        let after = if end == self.count * scale { usize::MAX } else { 2 * (end - position) - 1 };
        before.min(after).min(2 * self.tile * scale)
    }

    /// The tile in which a cell lies deepest.
    fn owner(&self, cell: usize) -> usize {
        let deepest = (0..self.starts.len()).rev().max_by_key(|&i| self.depth(i, cell, 1));
        deepest.unwrap_or(0)
    }

    /// Weights of the pixels of tile `i`: by depth, adding up to 1 over all tiles.
    fn weights(&self, i: usize, f: usize) -> Vec<f32> {
        let first = self.starts[i] * f;
        (first..first + self.tile * f)
            .map(|p| {
                let total: f64 = (0..self.starts.len()).map(|j| self.depth(j, p, f) as f64).sum();
                (self.depth(i, p, f) as f64 / total) as f32
            })
            .collect()
    }
}

impl Tokenizer {
    /// Codes (k, h, w) of one picture of any size, tile by tile.
    ///
    /// # Errors
    /// As [`Tokenizer::encode_into`], and `InvalidArgument` when the tiling does not fit the model.
    pub fn encode_tiled_into(&self, image: &View<'_>, tiling: Tiling, codes: &mut [u32]) -> Result<()> {
        let grid = self.grid(image.width(), image.height())?;
        let (f, k) = (self.config.downsample(), self.config.branches.len());
        super::expect_room("codes", codes.len(), &[k, grid.height, grid.width])?;
        let (rows, columns) = self.axes(grid, tiling)?;
        let cells = rows.tile * columns.tile;
        let mut of_tile = vec![0; k * cells];
        for (i, &top) in rows.starts.iter().enumerate() {
            for (j, &left) in columns.starts.iter().enumerate() {
                let place = || format!("tile at pixel ({}, {})", left * f, top * f);
                let part = image.crop(left * f, top * f, columns.tile * f, rows.tile * f)?;
                self.encode_into(&[part], &mut of_tile).context(place)?;
                for (y, x) in (0..rows.tile).flat_map(|y| (0..columns.tile).map(move |x| (y, x))) {
                    if rows.owner(top + y) == i && columns.owner(left + x) == j {
                        for branch in 0..k {
                            codes[(branch * grid.height + top + y) * grid.width + left + x] =
                                of_tile[branch * cells + y * columns.tile + x];
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// A picture of any size from its codes (k, h, w), tile by tile. See [`Tokenizer::decode_into`].
    ///
    /// # Errors
    /// As [`Tokenizer::decode_into`], and `InvalidArgument` when the tiling does not fit the model.
    pub fn decode_tiled_into(
        &self,
        codes: &[u32],
        grid: Grid,
        mask: u32,
        tiling: Tiling,
        image: &mut ViewMut<'_>,
    ) -> Result<()> {
        let (f, k) = (self.config.downsample(), self.config.branches.len());
        super::expect_room("codes", codes.len(), &[k, grid.height, grid.width])?;
        if (image.width(), image.height()) != (grid.width * f, grid.height * f) {
            return Err(Error::invalid(format!(
                "the picture is {} x {} pixels, expected {} x {}",
                image.width(),
                image.height(),
                grid.width * f,
                grid.height * f
            )));
        }
        let (rows, columns) = self.axes(grid, tiling)?;
        let (tile_h, tile_w) = (rows.tile * f, columns.tile * f);
        let line = grid.width * f * 3;
        let mut part_codes = vec![0; k * rows.tile * columns.tile];
        let mut part = floats([tile_h, tile_w, 3])?;
        // Rows of the picture from the current row of tiles on, still being added up.
        let mut strip = floats([tile_h, line])?;
        let strip = strip.data_mut::<f32>()?;
        for (i, &top) in rows.starts.iter().enumerate() {
            let row_weights = rows.weights(i, f);
            for (j, &left) in columns.starts.iter().enumerate() {
                for (to, from) in part_codes.chunks_exact_mut(columns.tile).zip(0..) {
                    let (branch, y): (usize, usize) = (from / rows.tile, from % rows.tile);
                    let at = (branch * grid.height + top + y) * grid.width + left;
                    to.copy_from_slice(&codes[at..][..columns.tile]);
                }
                let pixels = part.data_mut::<f32>()?;
                let view = ViewMut::floats(pixels, tile_w, tile_h, 0, PixelFormat::RgbF32)?;
                let tile_grid = Grid { height: rows.tile, width: columns.tile };
                self.decode_into(&part_codes, tile_grid, mask, &mut [view])
                    .context(|| format!("tile at pixel ({}, {})", left * f, top * f))?;
                let column_weights = columns.weights(j, f);
                let pixels = part.data::<f32>()?;
                for ((y, row_weight), from) in
                    row_weights.iter().enumerate().zip(pixels.chunks_exact(tile_w * 3))
                {
                    let to = &mut strip[y * line + left * f * 3..][..tile_w * 3];
                    for ((to, from), weight) in
                        to.chunks_exact_mut(3).zip(from.chunks_exact(3)).zip(&column_weights)
                    {
                        to.iter_mut().zip(from).for_each(|(t, x)| *t += x * (weight * row_weight));
                    }
                }
            }
            let next = rows.starts.get(i + 1).copied().unwrap_or(grid.height);
            let done = (next - top) * f;
            image.write_rows(&strip[..done * line], top * f..next * f)?;
            strip.copy_within(done * line.., 0);
            let kept = strip.len() - done * line;
            strip[kept..].fill(0.0);
        }
        Ok(())
    }

    fn axes(&self, grid: Grid, Tiling { tile, overlap }: Tiling) -> Result<(Axis, Axis)> {
        let f = self.config.downsample();
        if tile == 0 || !tile.is_multiple_of(f) || !overlap.is_multiple_of(f) || overlap >= tile {
            return Err(Error::invalid(format!(
                "tiles of {tile} pixels that share {overlap}: expected multiples of {f}, the second smaller"
            )));
        }
        let axis = |count| Axis::new(count, tile / f, overlap / f);
        Ok((axis(grid.height), axis(grid.width)))
    }
}

fn floats<const N: usize>(shape: [usize; N]) -> Result<Tensor> {
    let desc = Desc::plain(shape, DType::F32);
    Tensor::new(desc, HeapAllocator.allocate(desc.bytes().unwrap_or(usize::MAX))?)
}

#[cfg(test)]
mod tests {
    use super::Axis;

    #[test]
    fn tiles_cover_and_weights_add_up() {
        for (count, tile, overlap) in
            [(1, 4, 1), (4, 4, 1), (5, 4, 1), (7, 4, 2), (31, 8, 2), (64, 16, 4), (9, 4, 0)]
        {
            let axis = Axis::new(count, tile, overlap);
            let f = 3;
            let mut sums = vec![0.0f32; count * f];
            for i in 0..axis.starts.len() {
                let first = axis.starts[i] * f;
                axis.weights(i, f).iter().enumerate().for_each(|(p, w)| sums[first + p] += w);
            }
            assert!(sums.iter().all(|s| (s - 1.0).abs() < 1e-6), "{count} {tile} {overlap}: {sums:?}");
            for cell in 0..count {
                let owner = axis.owner(cell);
                assert!((axis.starts[owner]..axis.starts[owner] + axis.tile).contains(&cell));
            }
            for pair in axis.starts.windows(2) {
                assert!(pair[1] + overlap <= pair[0] + axis.tile && pair[1] > pair[0], "{:?}", axis.starts);
            }
        }
    }
}
