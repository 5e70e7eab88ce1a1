use crate::error::{Error, Result};

/// How a pixel stands in memory; the same numbers as `FQGAN_PIXEL_*` in `include/fqgan.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum PixelFormat {
    /// Bytes red, green, blue.
    Rgb8 = 0,
    /// Bytes red, green, blue, alpha. Alpha is ignored when read and written as 255.
    Rgba8 = 1,
    /// Bytes blue, green, red, alpha. Alpha as in [`PixelFormat::Rgba8`].
    Bgra8 = 2,
    /// Floats red, green, blue, in [-1, 1].
    RgbF32 = 3,
    /// A plane of floats for each of red, green and blue, in [-1, 1]; the planes follow each other.
    RgbF32Planar = 4,
}

impl PixelFormat {
    /// Every format.
    pub const ALL: [PixelFormat; 5] = [
        PixelFormat::Rgb8,
        PixelFormat::Rgba8,
        PixelFormat::Bgra8,
        PixelFormat::RgbF32,
        PixelFormat::RgbF32Planar,
    ];

    /// The format of a number of the C ABI.
    ///
    /// # Errors
    /// `InvalidArgument` for a number that is no format.
    pub fn from_number(number: i32) -> Result<PixelFormat> {
        let of = |f: &PixelFormat| *f as i32 == number;
        PixelFormat::ALL
            .into_iter()
            .find(of)
            .ok_or_else(|| Error::invalid(format!("pixel format {number} is unknown, expected 0 to 4")))
    }

    /// `"rgb8"`: for messages.
    pub const fn name(self) -> &'static str {
        match self {
            PixelFormat::Rgb8 => "rgb8",
            PixelFormat::Rgba8 => "rgba8",
            PixelFormat::Bgra8 => "bgra8",
            PixelFormat::RgbF32 => "rgb f32",
            PixelFormat::RgbF32Planar => "planar rgb f32",
        }
    }

    /// Bytes from a pixel to the one at its right (in a plane).
    pub const fn pixel_bytes(self) -> usize {
        match self {
            PixelFormat::Rgb8 => 3,
            PixelFormat::Rgba8 | PixelFormat::Bgra8 | PixelFormat::RgbF32Planar => 4,
            PixelFormat::RgbF32 => 12,
        }
    }

    /// 3 for the planar format, else 1.
    pub const fn planes(self) -> usize {
        match self {
            PixelFormat::RgbF32Planar => 3,
            _ => 1,
        }
    }
}

/// The byte of a value: `trunc(clamp(127.5 y + 128, 0, 255))`, one rounding a step, as the models' authors
/// store their pictures. NaN becomes 0.
pub fn to_byte(y: f32) -> u8 {
    (127.5 * y + 128.0).clamp(0.0, 255.0) as u8
}

/// The value of a byte: `(b / 255 - 0.5) / 0.5`, each step rounded to f32, as PyTorch's `ToTensor` and
/// `Normalize` do, so that codes can be equal to the bit.
pub fn to_float(b: u8) -> f32 {
    (f32::from(b) / 255.0 - 0.5) / 0.5
}
