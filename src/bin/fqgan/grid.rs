//! The grid of a generator whose file does not say it, as an argument.

use fqgan::weights::{Metadata, Source};
use std::str::FromStr;

/// `ROWSxCOLUMNS`.
#[derive(Clone, Copy)]
pub struct Grid {
    rows: usize,
    columns: usize,
}

impl FromStr for Grid {
    type Err = String;
    fn from_str(text: &str) -> Result<Grid, String> {
        let sides = text.split_once('x').map(|(rows, columns)| (rows.parse(), columns.parse()));
        match sides {
            Some((Ok(rows @ 1..), Ok(columns @ 1..))) => Ok(Grid { rows, columns }),
            _ => Err("expected ROWSxCOLUMNS, such as 16x16".into()),
        }
    }
}

impl Grid {
    /// What a file's header has to say.
    pub fn metadata(self) -> Metadata {
        let strings = [("fqgan.grid_height", self.rows), ("fqgan.grid_width", self.columns)];
        strings.map(|(key, value)| (key.to_owned(), value.to_string())).into()
    }

    /// The file as if it said so, if there is a grid.
    pub fn of(grid: Option<Grid>, source: Source) -> Source {
        source.with_metadata(grid.map(Grid::metadata).unwrap_or_default())
    }
}
