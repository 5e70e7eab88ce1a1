//! The `.fqc` file: see `docs/formats.md`. All numbers are little-endian.

use super::Info;
use crate::error::{Error, Result};

/// Bytes before the codes.
pub const HEADER: usize = 32;

/// As PNG's: a byte that no text has, the name, and line ends that a transfer as text would break.
const MAGIC: [u8; 8] = *b"\x89FQC\r\n\x1a\n";
const VERSION: u32 = 1;

/// Writes a code file to `out`; returns its length, which is [`Info::packed_len`].
///
/// # Errors
/// `InvalidArgument` when `codes` are not such codes, or `out` is too short.
pub fn pack_into(info: &Info, codes: &[u32], out: &mut [u8]) -> Result<usize> {
    info.check(codes)?;
    let len = info.packed_len()?;
    let have = out.len();
    let out = out
        .get_mut(..len)
        .ok_or_else(|| Error::invalid(format!("the code file needs {len} bytes, the buffer has {have}")))?;
    let (header, rest) = out.split_at_mut(HEADER);
    header[..8].copy_from_slice(&MAGIC);
    // `check` made sure that each fits in 32 bits.
    let numbers = [VERSION, info.k as u32, info.codebook_size as u32, info.height as u32, info.width as u32];
    for (to, number) in header[8..].chunks_exact_mut(4).zip(numbers.into_iter().chain([info.count as u32])) {
        to.copy_from_slice(&number.to_le_bytes());
    }

    let bits = info.code_bits();
    let mut bytes = rest.iter_mut();
    let (mut held, mut window) = (0, 0u64);
    for &code in codes {
        window |= u64::from(code) << held;
        held += bits;
        while held >= 8 {
            if let Some(byte) = bytes.next() {
                *byte = window as u8;
            }
            window >>= 8;
            held -= 8;
        }
    }
    if held > 0
        && let Some(byte) = bytes.next()
    {
        *byte = window as u8;
    }
    let crc = crc32fast::hash(&out[..len - 4]);
    out[len - 4..].copy_from_slice(&crc.to_le_bytes());
    Ok(len)
}

/// The sizes that a code file's bytes hold, after a check of everything but the codes.
///
/// # Errors
/// `Format` when the bytes are not a whole, undamaged code file and nothing else; `Unsupported` for a newer
/// version.
pub fn unpack_info(bytes: &[u8]) -> Result<Info> {
    let info = header(bytes)?;
    let len = info.packed_len()?;
    if bytes.len() < len {
        return Err(Error::format(format!(
            "code file of {} bytes is cut short, its header asks for {len}",
            bytes.len()
        )));
    }
    if bytes.len() > len {
        return Err(Error::format(format!(
            "code file goes on for {} bytes past its end at {len}",
            bytes.len() - len
        )));
    }
    let stored = word(bytes, len - 4);
    let computed = crc32fast::hash(&bytes[..len - 4]);
    if stored != computed {
        return Err(Error::format(format!(
            "code file is damaged: its checksum is {computed:08x}, it should be {stored:08x}"
        )));
    }
    Ok(info)
}

/// Reads the codes of a code file into `codes`; returns their sizes.
///
/// # Errors
/// Those of [`unpack_info`]; `Format` when a code is not in the codebook; `InvalidArgument` when `codes` is
/// too short. Nothing is written then.
pub fn unpack_into(bytes: &[u8], codes: &mut [u32]) -> Result<Info> {
    let info = unpack_info(bytes)?;
    let (len, have) = (info.len()?, codes.len());
    let codes = codes.get_mut(..len).ok_or_else(|| {
        Error::invalid(format!("the file holds {len} codes, the buffer has room for {have}"))
    })?;
    let packed = &bytes[HEADER..bytes.len() - 4];
    let mut wrong = None;
    let rest = for_each(packed, info.code_bits(), len, |at, code| {
        if code as usize >= info.codebook_size {
            wrong = wrong.or(Some((at, code)));
        }
    });
    if let Some((at, code)) = wrong {
        return Err(Error::format(format!("code file: {}", info.not_in_codebook(at, code))));
    }
    if rest != 0 {
        return Err(Error::format("code file: the bits after the last code are not zero"));
    }
    for_each(packed, info.code_bits(), len, |at, code| codes[at] = code);
    Ok(info)
}

/// Visits `len` codes of `bits` bits each, least bit first; returns the bits that are left of the last byte.
fn for_each(packed: &[u8], bits: u32, len: usize, mut visit: impl FnMut(usize, u32)) -> u64 {
    let mask = (1u64 << bits) - 1;
    let mut packed = packed.iter();
    let (mut held, mut window) = (0, 0u64);
    for at in 0..len {
        while held < bits {
            window |= u64::from(packed.next().copied().unwrap_or(0)) << held;
            held += 8;
        }
        visit(at, (window & mask) as u32);
        window >>= bits;
        held -= bits;
    }
    window
}

/// Bytes that a file with this header should have.
pub(super) fn expected_len(bytes: &[u8]) -> Result<usize> {
    header(bytes)?.packed_len()
}

fn header(bytes: &[u8]) -> Result<Info> {
    let begins = bytes.len().min(MAGIC.len());
    if bytes.is_empty() || bytes[..begins] != MAGIC[..begins] {
        return Err(Error::format("not a code file: it does not begin with the bytes 89 46 51 43 of a .fqc"));
    }
    if bytes.len() < HEADER {
        return Err(Error::format(format!(
            "code file of {} bytes is cut short, its header alone has {HEADER}",
            bytes.len()
        )));
    }
    let version = word(bytes, 8);
    if version != VERSION {
        return Err(Error::unsupported(format!(
            "code file of version {version}, this program reads {VERSION}"
        )));
    }
    let size = |at| word(bytes, at) as usize;
    let info =
        Info { k: size(12), codebook_size: size(16), height: size(20), width: size(24), count: size(28) };
    match info.len() {
        Ok(_) => Ok(info),
        Err(e) => Err(Error::format(format!("code file: {e}"))),
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}
