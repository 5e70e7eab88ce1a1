use super::Picture;
use crate::error::{Context, Error, Result};
use crate::files;
use ::image::codecs::png::{CompressionType, FilterType, PngEncoder};
use ::image::{ExtendedColorType, ImageEncoder, ImageError};
use std::io::{BufWriter, Write};
use std::path::Path;

impl Picture {
    /// Writes a PNG file. It appears whole or not at all: it is written beside its place and renamed.
    ///
    /// # Errors
    /// `Io`, with the path in the message.
    pub fn save_png(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        files::replace(path, |file| {
            let mut out = BufWriter::with_capacity(1 << 16, file);
            self.write_png(&mut out).context(|| path.display())?;
            out.flush().map_err(|e| Error::io(format_args!("writing {}", path.display()), &e))
        })
    }

    /// Writes the bytes of a PNG file.
    ///
    /// # Errors
    /// `Io`.
    pub fn write_png(&self, out: impl Write) -> Result<()> {
        let side = |n: usize| {
            u32::try_from(n).map_err(|_| Error::invalid(format!("a PNG of {n} pixels a side is too large")))
        };
        let (width, height) = (side(self.width())?, side(self.height())?);
        PngEncoder::new_with_quality(out, CompressionType::Default, FilterType::Adaptive)
            .write_image(self.pixels(), width, height, ExtendedColorType::Rgb8)
            .map_err(|e| match e {
                ImageError::IoError(e) => Error::io("writing", &e),
                e => Error::internal(format!("writing a PNG: {e}")),
            })
    }
}
