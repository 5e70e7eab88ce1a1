//! The namings that a tower's weights come in.

use crate::error::{Error, Result};
use crate::nn::{Numerics, Params};
use crate::weights::{Listing, Source};

/// What may stand before a tower's names.
const PREFIXES: [&str; 4] = ["", "vision_model", "clip.vision_model", "dinov2"];

/// The prefix under which `name` is.
pub(super) fn prefix(file: &Listing, name: &str) -> Option<&'static str> {
    PREFIXES.into_iter().find(|prefix| file.contains(&join(prefix, name)))
}

/// The place of a tower whose weights include `name`.
pub(super) fn tower<'a>(source: &'a Source, name: &str) -> Result<(Params<'a>, &'static str)> {
    let prefix = prefix(source.listing(), name)
        .ok_or_else(|| Error::format(format!("{}: tensor {name} is missing", source.name())))?;
    let top = Params::new(source, Numerics::default());
    Ok((if prefix.is_empty() { top } else { top.scope(prefix) }, prefix))
}

pub(super) fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_string() } else { format!("{prefix}.{name}") }
}
