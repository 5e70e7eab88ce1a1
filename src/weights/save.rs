use super::listing::safetensors_name;
use crate::error::{Context, Error, Result};
use crate::files;
use crate::tensor::{Desc, Layout, Tensor};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufWriter, Write};
use std::path::Path;

/// Strings in a file's header (`__metadata__`).
pub type Metadata = BTreeMap<String, String>;

/// The header is padded so that the first tensor begins at a multiple of this: one 512-bit vector.
const ALIGN: usize = 64;

/// Writes tensors to a safetensors file.
///
/// The file appears whole or not at all: it is written beside its place, flushed to the disk and renamed.
///
/// # Errors
/// `Io` (the message names the file), `InvalidArgument` for a packed tensor or a name that stands twice.
pub fn save(path: impl AsRef<Path>, tensors: &[(&str, Tensor)], metadata: &Metadata) -> Result<()> {
    let descs: Vec<_> = tensors.iter().map(|(name, t)| (*name, *t.desc())).collect();
    save_with(path, &descs, metadata, |i| Ok(tensors[i].1.clone()))
}

/// As [`save`], with tensors made one at a time: `make(i)` gives the one of `descs[i]`, each once, in an
/// order of the writer's choice.
///
/// # Errors
/// As [`save`], and those of `make`.
pub fn save_with(
    path: impl AsRef<Path>,
    descs: &[(&str, Desc)],
    metadata: &Metadata,
    make: impl FnMut(usize) -> Result<Tensor>,
) -> Result<()> {
    let path = path.as_ref();
    files::replace(path, |file| write_with(file, descs, metadata, make).context(|| path.display()))
}

/// Writes the bytes of a safetensors file.
///
/// # Errors
/// As [`save_with`].
pub fn write_with(
    out: impl Write,
    descs: &[(&str, Desc)],
    metadata: &Metadata,
    mut make: impl FnMut(usize) -> Result<Tensor>,
) -> Result<()> {
    let io = |e: std::io::Error| Error::io("writing", &e);
    // Widest elements first keeps every tensor aligned without holes, which the format forbids.
    let mut order: Vec<usize> = (0..descs.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(descs[i].1.dtype.size()), descs[i].0));
    let header = header(descs, &order, metadata)?;
    let mut out = BufWriter::with_capacity(1 << 20, out);
    out.write_all(&(header.len() as u64).to_le_bytes()).map_err(io)?;
    out.write_all(header.as_bytes()).map_err(io)?;
    for i in order {
        let (name, desc) = descs[i];
        let tensor = make(i).context(|| format!("tensor {name}"))?;
        if *tensor.desc() != desc {
            return Err(Error::internal(format!("tensor {name}: announced {desc}, got {}", tensor.desc())));
        }
        let len = desc.bytes().unwrap_or(0); // The header is made of it, so it exists.
        out.write_all(&tensor.on_host()?.storage().as_bytes()?[..len]).map_err(io)?;
    }
    out.flush().map_err(io)
}

/// The first bytes of a file whose tensors follow in this order, which the caller sees to.
///
/// # Errors
/// As [`save`].
#[cfg(feature = "train")]
pub(crate) fn start(descs: &[(&str, Desc)], metadata: &Metadata) -> Result<Vec<u8>> {
    let order: Vec<usize> = (0..descs.len()).collect();
    let header = header(descs, &order, metadata)?;
    Ok([(header.len() as u64).to_le_bytes().as_slice(), header.as_bytes()].concat())
}

fn header(descs: &[(&str, Desc)], order: &[usize], metadata: &Metadata) -> Result<String> {
    let mut seen = BTreeSet::new();
    let mut text = String::from("{");
    if !metadata.is_empty() {
        text.push_str("\"__metadata__\":{");
        for (i, (key, value)) in metadata.iter().enumerate() {
            text.push_str(if i > 0 { "," } else { "" });
            quote(&mut text, key);
            text.push(':');
            quote(&mut text, value);
        }
        text.push('}');
    }
    let mut begin = 0usize;
    for &i in order {
        let (name, desc) = descs[i];
        if !seen.insert(name) || name == "__metadata__" {
            return Err(Error::invalid(format!("tensor {name}: the name is taken")));
        }
        if desc.layout != Layout::Plain {
            return Err(Error::invalid(format!("tensor {name}: {desc} cannot be written")));
        }
        let end = desc.bytes().and_then(|n| begin.checked_add(n));
        let end = end.ok_or_else(|| Error::invalid(format!("tensor {name}: {desc} is too large")))?;
        text.push_str(if text.len() > 1 { "," } else { "" });
        quote(&mut text, name);
        let dtype = safetensors_name(desc.dtype);
        let shape: Vec<String> = desc.shape.iter().map(usize::to_string).collect();
        text.push_str(&format!(
            ":{{\"dtype\":\"{dtype}\",\"shape\":[{}],\"data_offsets\":[{begin},{end}]}}",
            shape.join(",")
        ));
        begin = end;
    }
    text.push('}');
    while !(8 + text.len()).is_multiple_of(ALIGN) {
        text.push(' ');
    }
    Ok(text)
}

/// A JSON string.
fn quote(to: &mut String, text: &str) {
    to.push('"');
    for c in text.chars() {
        match c {
            '"' => to.push_str("\\\""),
            '\\' => to.push_str("\\\\"),
            c if c < ' ' => to.push_str(&format!("\\u{:04x}", c as u32)),
            c => to.push(c),
        }
    }
    to.push('"');
}
