//! The trust boundary of safetensors: eight bytes of length, a JSON header, tensors. What [`parse`] returns
//! has been checked against the bytes that there are; nothing else of the file is believed.
//!
//! The reader takes exactly the header's grammar, so a message can name the tensor that is wrong.

use super::listing::{FileType, Info};
use crate::error::{Context, Error, Result};
use std::collections::BTreeMap;

/// Longest header that is read, as in the reference implementation.
pub(super) const MAX_HEADER: u64 = 100_000_000;
/// Bytes before the header.
pub(super) const PREFIX: u64 = 8;

/// A tensor of the file: what it is, and which bytes after the header are its elements.
#[derive(Debug)]
pub(super) struct Entry {
    pub info: Info,
    pub begin: u64,
    pub end: u64,
}

/// A checked header.
#[derive(Debug, Default)]
pub(super) struct Header {
    pub metadata: BTreeMap<String, String>,
    pub tensors: BTreeMap<String, Entry>,
}

/// The header's length from the first eight bytes of a file of `file_len` bytes.
pub(super) fn length(prefix: [u8; 8], file_len: u64) -> Result<usize> {
    let n = u64::from_le_bytes(prefix);
    if n > MAX_HEADER {
        return Err(Error::format(format!(
            "no safetensors file: its first 8 bytes give a header of {n} bytes, at most {MAX_HEADER} are allowed"
        )));
    }
    if n + PREFIX > file_len {
        return Err(Error::format(format!(
            "the safetensors header should have {n} bytes, but the file ends after {file_len}: it was cut short"
        )));
    }
    Ok(n as usize) // At most MAX_HEADER.
}

/// Reads the header of a file with `data_len` bytes after it.
pub(super) fn parse(text: &[u8], data_len: u64) -> Result<Header> {
    let text = std::str::from_utf8(text)
        .map_err(|e| Error::format(format!("the safetensors header is no UTF-8 text: {e}")))?;
    let mut reader = Reader { text, at: 0 };
    let header = reader.header().context(|| format!("safetensors header, byte {}", reader.at))?;
    covered(&header, data_len)?;
    Ok(header)
}

/// The format wants each byte after the header to belong to exactly one tensor.
fn covered(header: &Header, data_len: u64) -> Result<()> {
    let mut order: Vec<_> = header.tensors.iter().collect();
    order.sort_by_key(|(_, e)| (e.begin, e.end));
    let mut at = 0;
    for (name, entry) in order {
        if entry.begin != at {
            let what =
                if entry.begin < at { "overlaps the tensor before it" } else { "leaves a hole before it" };
            return Err(Error::format(format!(
                "tensor {name} {what}: it begins at byte {}, expected {at}",
                entry.begin
            )));
        }
        at = entry.end;
    }
    if at > data_len {
        return Err(Error::format(format!(
            "the tensors need {at} bytes after the header, the file has {data_len}: it was cut short"
        )));
    }
    if at < data_len {
        return Err(Error::format(format!(
            "the tensors need {at} bytes after the header, the file has {data_len}: the rest belongs to none"
        )));
    }
    Ok(())
}

/// A cursor over the JSON text.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn header(&mut self) -> Result<Header> {
        let mut header = Header::default();
        self.object(|r, key| {
            if key == "__metadata__" {
                return r.object(|r, key| {
                    let value = r.string()?;
                    unique(header.metadata.insert(key, value).is_none())
                });
            }
            let entry = r.entry().context(|| format!("tensor {key}"))?;
            unique(header.tensors.insert(key, entry).is_none())
        })?;
        self.space();
        if self.at < self.text.len() {
            return Err(Error::format("unexpected text after the header's closing brace"));
        }
        Ok(header)
    }

    fn entry(&mut self) -> Result<Entry> {
        let (mut dtype, mut shape, mut offsets) = (None, None, None);
        self.object(|r, key| {
            let new = match key.as_str() {
                "dtype" => dtype.replace(r.string()?).is_none(),
                "shape" => shape.replace(r.integers()?).is_none(),
                "data_offsets" => offsets.replace(r.integers()?).is_none(),
                other => return Err(Error::format(format!("unknown field {other:?}"))),
            };
            unique(new)
        })?;
        let missing = |what| move || Error::format(format!("has no field {what}"));
        let dtype = FileType::from_safetensors(&dtype.ok_or_else(missing("dtype"))?);
        let shape = shape.ok_or_else(missing("shape"))?;
        let offsets = offsets.ok_or_else(missing("data_offsets"))?;
        let &[begin, end] = offsets.as_slice() else {
            return Err(Error::format(format!("data_offsets has {} numbers, expected 2", offsets.len())));
        };
        if begin > end {
            return Err(Error::format(format!("data_offsets [{begin}, {end}] run backwards")));
        }
        let too_large = || Error::format(format!("shape {shape:?} is too large to address"));
        let shape: Vec<usize> =
            shape.iter().map(|&e| usize::try_from(e)).collect::<Result<_, _>>().map_err(|_| too_large())?;
        let count = shape.iter().try_fold(1usize, |n, &e| n.checked_mul(e)).ok_or_else(too_large)?;
        if let FileType::Known(known) = dtype {
            let need = count.checked_mul(known.size()).ok_or_else(too_large)? as u64;
            if need != end - begin {
                return Err(Error::format(format!(
                    "{known} {shape:?} needs {need} bytes, data_offsets [{begin}, {end}] hold {}",
                    end - begin
                )));
            }
        }
        Ok(Entry { info: Info { dtype, shape }, begin, end })
    }

    /// `{ "key": value, ... }`; `value` reads one value.
    fn object(&mut self, mut value: impl FnMut(&mut Self, String) -> Result<()>) -> Result<()> {
        self.expect('{')?;
        if self.accept('}') {
            return Ok(());
        }
        loop {
            let key = self.string()?;
            self.expect(':')?;
            value(self, key)?;
            if self.accept('}') {
                return Ok(());
            }
            self.expect(',')?;
        }
    }

    /// `[1, 2, ...]`
    fn integers(&mut self) -> Result<Vec<u64>> {
        let mut all = Vec::new();
        self.expect('[')?;
        if self.accept(']') {
            return Ok(all);
        }
        loop {
            self.space();
            let digits = self.rest().find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest().len());
            let number = &self.rest()[..digits];
            let number = number.parse().map_err(|_| {
                let found = self.rest().chars().next().map_or("the end".into(), |c| format!("{c:?}"));
                Error::format(format!("expected a whole number of at most 64 bits, found {found}"))
            })?;
            all.push(number);
            self.at += digits;
            if self.accept(']') {
                return Ok(all);
            }
            self.expect(',')?;
        }
    }

    fn string(&mut self) -> Result<String> {
        self.expect('"')?;
        let mut out = String::new();
        loop {
            let rest = self.rest();
            let stop = rest
                .find(|c| matches!(c, '"' | '\\') || c < ' ')
                .ok_or_else(|| Error::format("text without an end"))?;
            out.push_str(&rest[..stop]);
            self.at += stop + 1;
            match rest.as_bytes()[stop] {
                b'"' => return Ok(out),
                b'\\' => out.push(self.escape()?),
                c => return Err(Error::format(format!("control character {c:#04x} in a text"))),
            }
        }
    }

    /// What stands after a backslash.
    fn escape(&mut self) -> Result<char> {
        let bad = || Error::format("bad escape in a text");
        let c = self.rest().chars().next().ok_or_else(bad)?;
        self.at += c.len_utf8();
        Ok(match c {
            '"' | '\\' | '/' => c,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let first = self.hex4()?;
                let code = if (0xD800..0xDC00).contains(&first) {
                    if !self.rest().starts_with("\\u") {
                        return Err(bad());
                    }
                    self.at += 2;
                    let second = self.hex4()?;
                    if !(0xDC00..0xE000).contains(&second) {
                        return Err(bad());
                    }
                    0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)
                } else {
                    first
                };
                char::from_u32(code).ok_or_else(bad)?
            }
            _ => return Err(bad()),
        })
    }

    fn hex4(&mut self) -> Result<u32> {
        let digits = self.rest().get(..4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = digits.and_then(|d| u32::from_str_radix(d, 16).ok());
        let code = code.ok_or_else(|| Error::format("bad \\u escape in a text"))?;
        self.at += 4;
        Ok(code)
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn accept(&mut self, c: char) -> bool {
        self.space();
        let there = self.rest().starts_with(c);
        self.at += if there { c.len_utf8() } else { 0 };
        there
    }

    fn expect(&mut self, c: char) -> Result<()> {
        if self.accept(c) {
            return Ok(());
        }
        let found = self.rest().chars().next().map_or("the end".into(), |f| format!("{f:?}"));
        Err(Error::format(format!("expected {c:?}, found {found}")))
    }
}

fn unique(new: bool) -> Result<()> {
    if new { Ok(()) } else { Err(Error::format("the same key stands twice")) }
}
