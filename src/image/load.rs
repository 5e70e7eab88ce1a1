use super::Picture;
use crate::error::{Context, Error, Result};
use ::image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};
use std::fs::File;
use std::io::{Cursor, ErrorKind, Read};
use std::path::Path;

/// How picture files are read.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Turn the picture as its EXIF orientation says (default). Pillow, and so the models' authors, do not.
    pub upright: bool,
    /// The most pixels that a picture may have; default 2^28, a square of side 16384.
    pub max_pixels: u64,
}

impl Default for Load {
    fn default() -> Load {
        Load { upright: true, max_pixels: 1 << 28 }
    }
}

/// The most bytes that a picture file may have.
pub(crate) const MAX_FILE: u64 = 1 << 30;

impl Load {
    /// Reads a PNG, JPEG or WebP file; which of them is told by its first bytes, not its name.
    ///
    /// # Errors
    /// `Io`, and those of [`Load::decode`], with the path in the message.
    pub fn file(&self, path: impl AsRef<Path>) -> Result<Picture> {
        let path = path.as_ref();
        let io = |e| Error::io(format_args!("reading {}", path.display()), &e);
        let file = File::open(path).map_err(io)?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(Error::unsupported(format!(
                "{}: more than {MAX_FILE} bytes, which no picture needs",
                path.display()
            )));
        }
        self.decode(&bytes).context(|| path.display())
    }

    /// Reads the bytes of a PNG, JPEG or WebP file as RGB: grey is spread over the channels, palettes are
    /// looked up, 16 bits are rounded to 8, CMYK is converted without a profile, alpha is dropped (the colours
    /// under it stay as they are in the file, as Pillow does), of an animation the first frame is taken.
    ///
    /// # Errors
    /// `Format` when the bytes are none of these or are damaged, `Unsupported` when they are of a kind that is
    /// not read or of more pixels than allowed, `OutOfMemory`.
    pub fn decode(&self, bytes: &[u8]) -> Result<Picture> {
        let format = ::image::guess_format(bytes).ok();
        let Some(format @ (ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP)) = format else {
            let what = if bytes.is_empty() { "an empty file" } else { "not a picture that is read here" };
            return Err(Error::format(format!("{what}, expected PNG, JPEG or WebP")));
        };
        let name = format.extensions_str().first().copied().unwrap_or("picture");
        let failed = |e: ImageError| refused(name, e);
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        let mut limits = Limits::no_limits();
        // The picture at 16 bits a channel with alpha, and as much for the decoder's own tables.
        limits.max_alloc = Some(self.max_pixels.saturating_mul(16).max(1 << 24));
        reader.limits(limits);
        let mut decoder = reader.into_decoder().map_err(failed)?;
        let (width, height) = decoder.dimensions();
        if u64::from(width) * u64::from(height) > self.max_pixels {
            return Err(Error::unsupported(format!(
                "a picture of {width} x {height} pixels, at most {} are allowed",
                self.max_pixels
            )));
        }
        // The decoder fills up what a cut file lacks, in silence.
        if format == ImageFormat::Jpeg && !jpeg_ends(bytes) {
            return Err(Error::format("damaged jpg: it is cut short, there is no end-of-image marker"));
        }
        let orientation = decoder.orientation().map_err(failed)?;
        let mut image = DynamicImage::from_decoder(decoder).map_err(failed)?;
        if self.upright {
            image.apply_orientation(orientation);
        }
        let rgb = image.into_rgb8();
        Picture::from_pixels(rgb.width() as usize, rgb.height() as usize, rgb.into_raw())
    }
}

impl Picture {
    /// Reads a PNG, JPEG or WebP file: [`Load::file`] with its defaults.
    ///
    /// # Errors
    /// As [`Load::file`].
    pub fn load(path: impl AsRef<Path>) -> Result<Picture> {
        Load::default().file(path)
    }
}

fn refused(name: &str, error: ImageError) -> Error {
    match error {
        ImageError::Unsupported(e) => Error::unsupported(format!("{name} of a kind that is not read: {e}")),
        ImageError::Limits(e) => Error::unsupported(format!("{name} asks for too much memory: {e}")),
        // The bytes are in memory, so that the system has no part in it.
        ImageError::IoError(e) if e.kind() == ErrorKind::UnexpectedEof => {
            Error::format(format!("damaged {name}: it is cut short"))
        }
        e => Error::format(format!("damaged {name}: {e}")),
    }
}

/// Whether a JPEG's picture comes to its end: walks the segments, and the coded data between them, where a
/// byte FF that begins no marker is followed by 0.
fn jpeg_ends(bytes: &[u8]) -> bool {
    let mut at = 2; // After the marker of the start, by which it was known.
    while let Some(&[first, marker]) = bytes.get(at..at + 2) {
        at += match (first, marker) {
            (0xff, 0xd9) => return true,
            (0xff, 0xff) => 1,
            // These have no length.
            (0xff, 0x00 | 0x01 | 0xd0..=0xd8) => 2,
            (0xff, _) => match bytes.get(at + 2..at + 4) {
                Some(&[high, low]) => 2 + usize::from(u16::from_be_bytes([high, low])),
                _ => return false,
            },
            _ => bytes[at..].iter().position(|&b| b == 0xff).unwrap_or(bytes.len()),
        };
    }
    false
}
