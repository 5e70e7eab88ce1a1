use crate::failure::{Failure, Result};
use crate::print::say;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::Path;
use std::time::Instant;

/// Does a piece of work for each item. One item's note is printed; of several there is a progress bar (where
/// a person looks on) and a summary. A failure is reported and does not stop the rest.
pub fn each<T>(
    items: &[T],
    what: &str,
    quiet: bool,
    path: impl Fn(&T) -> &Path,
    mut work: impl FnMut(&T) -> fqgan::Result<Option<String>>,
) -> Result {
    let start = Instant::now();
    let bar = if quiet || items.len() < 2 {
        ProgressBar::hidden()
    } else {
        styled(items.len(), "{bar:30} {pos}/{len} {msg} (about {eta} left)")
    };
    let mut failed = 0;
    for item in items {
        bar.set_message(path(item).file_name().unwrap_or_default().to_string_lossy().into_owned());
        match work(item) {
            Ok(Some(note)) if items.len() == 1 && !quiet => say!("{note}")?,
            Ok(_) => {}
            Err(error) => {
                failed += 1;
                bar.suspend(|| eprintln!("fqgan: {error}"));
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if items.len() > 1 && failed < items.len() && !quiet {
        say!("{} {what} in {:.1} s", items.len() - failed, start.elapsed().as_secs_f64())?;
    }
    if failed > 0 {
        return Err(Failure::Some { failed, of: items.len() });
    }
    Ok(())
}

/// A bar over the codes of pictures in the making.
pub fn codes(quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    styled(0, "{bar:30} {pos}/{len} codes, {per_sec} (about {eta} left)")
}

/// A bar over pictures that are looked at.
#[cfg(all(feature = "eval", feature = "train"))]
pub fn pictures(count: usize) -> ProgressBar {
    styled(count, "{bar:30} {pos}/{len} pictures, {per_sec} (about {eta} left)")
}

fn styled(len: usize, template: &str) -> ProgressBar {
    let bar = ProgressBar::new(len as u64);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
