//! What the evaluations have in common: how far they are, what survives a kill, where results go.

use crate::failure::{Result, usage};
use crate::page::Page;
use crate::print::say;
use crate::progress;
use crate::ranks::Ranks;
use fqgan::Error;
use fqgan::eval::{Journal, Seen, Study, study};
use fqgan::train::data::Pictures;
use indicatif::ProgressBar;
use serde_json::Value;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where results go.
#[derive(clap::Args)]
pub struct Output {
    /// Write the numbers to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with the numbers, pictures and plots, which needs nothing beside it
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Keep what was made of each picture in a file, and use what is there: a run that was killed goes on [default:
    /// beside --json or --html, by the name of .part, until all is done]
    #[arg(long, value_name = "FILE")]
    features: Option<PathBuf>,
}

impl Output {
    /// Where entries are kept meanwhile, for one of the sets of pictures of a run.
    fn kept(&self, set: &str) -> Option<PathBuf> {
        let with = |path: &PathBuf, end: &str| {
            let mut name = OsString::from(path);
            name.push(end);
            PathBuf::from(name)
        };
        match (&self.features, self.json.as_ref().or(self.html.as_ref())) {
            (Some(path), _) if set.is_empty() => Some(path.clone()),
            (Some(path), _) => Some(with(path, &format!(".{set}"))),
            (None, Some(path)) if set.is_empty() => Some(with(path, ".part")),
            (None, Some(path)) => Some(with(path, &format!(".{set}.part"))),
            (None, None) => None,
        }
    }

    /// Prints the table, writes the files, and forgets what was kept.
    pub fn write(
        &self,
        table: &[(String, String)],
        json: &Value,
        page: impl FnOnce() -> fqgan::Result<Page>,
        journals: Vec<Journal>,
    ) -> Result {
        for (name, value) in table {
            say!("{name:<22} {value}")?;
        }
        if let Some(path) = &self.json {
            let text = serde_json::to_string_pretty(json).map_err(|e| Error::internal(e.to_string()))?;
            write(path, &(text + "\n"))?;
        }
        if let Some(path) = &self.html {
            write(path, &page()?.table(table).finish())?;
        }
        if self.features.is_none() {
            journals.into_iter().try_for_each(Journal::remove)?;
        }
        Ok(())
    }
}

fn write(path: &Path, text: &str) -> Result {
    Ok(std::fs::write(path, text).map_err(|e| Error::io(format_args!("writing {}", path.display()), &e))?)
}

/// Pictures that were named: each a folder, a tar, an `.npz`; one after the other.
pub struct Sets(Vec<Pictures>);

impl Sets {
    pub fn open(paths: &[PathBuf]) -> Result<Sets> {
        Ok(Sets(paths.iter().map(Pictures::open).collect::<fqgan::Result<_>>()?))
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(Pictures::len).sum()
    }

    fn place(&self, mut number: usize) -> (&Pictures, usize) {
        for set in &self.0 {
            if number < set.len() {
                return (set, number);
            }
            number -= set.len();
        }
        unreachable!("there are fewer pictures")
    }

    pub fn read(&self, number: usize) -> fqgan::Result<fqgan::image::Picture> {
        let (set, number) = self.place(number);
        set.read(number)
    }

    /// What entries depend on, of the pictures.
    pub fn about(&self) -> String {
        self.0.iter().map(|set| format!("{} pictures {:08x}; ", set.len(), set.fingerprint())).collect()
    }
}

/// Looks at all pictures, with a bar, by all processes.
pub fn watch(
    what: &mut impl Study,
    sets: &Sets,
    output: &Output,
    (set, about): (&str, &str),
    ranks: &Ranks,
    quiet: bool,
) -> Result<(Seen, Journal)> {
    let kept = output.kept(set);
    if let Some(path) = kept.as_ref().filter(|path| path.is_dir()) {
        return usage(format!("{}: expected a file", path.display()));
    }
    let about = format!("{}{about}", sets.about());
    ranks.agree("pictures, networks or sizes", &about)?;
    let bar = if quiet || !ranks.0.leads() { ProgressBar::hidden() } else { progress::pictures(sets.len()) };
    let kept = kept.as_deref().map(|path| (path, about.as_str()));
    let mut begun = false;
    let found = study(
        what,
        sets.len(),
        |i| sets.read(i),
        kept,
        ranks,
        |done, unreadable| {
            bar.set_position(done as u64);
            if !begun {
                // What was there already took no time.
                bar.reset_eta();
                begun = true;
            }
            if let Some(error) = unreadable {
                bar.suspend(|| eprintln!("fqgan: left out: {error}"));
            }
            Ok(())
        },
    );
    bar.finish_and_clear();
    Ok(found?)
}
