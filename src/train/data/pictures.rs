use super::folder::{self, Contents};
use super::shard::{Index, Member, Shard};
use crate::error::{Context, Error, Result};
use crate::image::{Load, Picture};
use crate::npz::{Npz, Rows};
use crc32fast::Hasher;
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Pictures with classes: where they lie, not what they show.
#[derive(Debug)]
pub struct Pictures {
    root: PathBuf,
    classes: Vec<String>,
    labels: Vec<u32>,
    places: Places,
}

#[derive(Debug)]
enum Places {
    /// Paths from the root.
    Files(Vec<PathBuf>),
    /// Members of tars, and which tar that is.
    Members { shards: Vec<Shard>, members: Vec<(u32, Member)> },
    /// Names and rows of arrays, and the first picture of each.
    Rows { arrays: Vec<(String, Rows)>, firsts: Vec<usize> },
}

impl Pictures {
    /// The pictures (`.png`, `.jpg`, `.jpeg`, `.jpe`, `.webp`) of one of these:
    /// - a folder of folders: a class each, also one without pictures; what lies deeper belongs to it;
    /// - a folder of pictures: one class of the folder's name;
    /// - a folder of `.npz` files, or one, whose `arr_0` is (n, height, width, 3) bytes: one class of its name;
    /// - a folder of tars, or a tar, read in place; tars may lie in tars. The class of a picture is the folder it lies
    ///   in inside its tar; without one, its tar (`n01440764.tar`, be it in another tar); unless the names in any
    ///   such tar differ in what stands before the last `_` (`n01440764_10026.JPEG`): then it is that.
    ///
    /// Classes are numbered as their names sort by bytes. Hidden files are passed over.
    ///
    /// # Errors
    /// `Io`; `Format` for a damaged tar; `InvalidArgument` when there is no picture, or classes cannot be told: pictures
    /// beside folders, tars beside either.
    pub fn open(path: impl AsRef<Path>) -> Result<Pictures> {
        let path = path.as_ref();
        let about =
            std::fs::metadata(path).map_err(|e| Error::io(format_args!("reading {}", path.display()), &e))?;
        let pictures = if about.is_dir() {
            let contents = folder::contents(path)?;
            match contents {
                Contents { ref arrays, ref tars, ref folders, ref pictures } if !arrays.is_empty() => {
                    if !folders.is_empty() || !pictures.is_empty() || !tars.is_empty() {
                        return Err(mixed(
                            path,
                            "arrays (.npz) beside tars, folders or pictures",
                            "only arrays",
                        ));
                    }
                    Pictures::of_arrays(path, arrays.iter().map(|array| path.join(array)))?
                }
                Contents { ref tars, ref folders, ref pictures, .. } if !tars.is_empty() => {
                    if !folders.is_empty() || !pictures.is_empty() {
                        return Err(mixed(path, "tars beside folders or pictures", "only tars"));
                    }
                    Pictures::of_tars(path, tars.iter().map(|tar| path.join(tar)))?
                }
                Contents { ref folders, pictures, .. } if folders.is_empty() => {
                    Pictures::flat(path, pictures)
                }
                Contents { folders, pictures, .. } if pictures.is_empty() => {
                    Pictures::by_folder(path, &folders)?
                }
                _ => return Err(mixed(path, "pictures beside folders", "a folder for each class")),
            }
        } else if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("tar")) {
            Pictures::of_tars(path, std::iter::once(path.to_path_buf()))?
        } else if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("npz")) {
            Pictures::of_arrays(path, std::iter::once(path.to_path_buf()))?
        } else {
            return Err(Error::invalid(format!(
                "{}: expected a folder, an .npz, or a tar by the name of .tar (not compressed: it is read in place)",
                path.display()
            )));
        };
        match pictures.len() {
            0 => Err(Error::invalid(format!(
                "{}: no pictures there, expected .png, .jpg or .webp files, folders or tars of them, or an .npz",
                path.display()
            ))),
            n if u32::try_from(n).is_err() => {
                Err(Error::unsupported(format!("{}: {n} pictures, at most 2^32 - 1", path.display())))
            }
            _ => Ok(pictures),
        }
    }

    fn flat(path: &Path, pictures: Vec<std::ffi::OsString>) -> Pictures {
        let name = path.canonicalize().ok().and_then(|p| Some(p.file_name()?.to_string_lossy().into_owned()));
        Pictures {
            root: path.to_path_buf(),
            classes: vec![name.unwrap_or_default()],
            labels: vec![0; pictures.len()],
            places: Places::Files(pictures.into_iter().map(PathBuf::from).collect()),
        }
    }

    fn by_folder(path: &Path, folders: &[std::ffi::OsString]) -> Result<Pictures> {
        let (mut files, mut labels) = (Vec::new(), Vec::new());
        for (label, folder) in folders.iter().enumerate() {
            folder::pictures(path, Path::new(folder), &mut files)?;
            labels.resize(files.len(), label as u32);
        }
        let classes = folders.iter().map(|name| name.to_string_lossy().into_owned()).collect();
        Ok(Pictures { root: path.to_path_buf(), classes, labels, places: Places::Files(files) })
    }

    fn of_tars(path: &Path, tars: impl Iterator<Item = PathBuf>) -> Result<Pictures> {
        let (mut shards, mut owners, mut index) = (Vec::new(), Vec::new(), Index::default());
        for tar in tars {
            let number = shards.len() as u32;
            shards.push(Shard::open(&tar, &mut index)?);
            owners.resize(index.members.len(), number);
        }
        let (classes, labels) = classes(&index);
        let members = owners.into_iter().zip(index.members).collect();
        Ok(Pictures {
            root: path.to_path_buf(),
            classes,
            labels,
            places: Places::Members { shards, members },
        })
    }

    fn of_arrays(path: &Path, files: impl Iterator<Item = PathBuf>) -> Result<Pictures> {
        let (mut arrays, mut firsts, mut count) = (Vec::new(), Vec::new(), 0);
        for file in files {
            let rows = Rows::open(&Npz::open(&file)?, "arr_0")?;
            if rows.shape().len() != 3 || rows.shape()[2] != 3 {
                return Err(Error::format(format!(
                    "{}: arr_0 has rows of {:?}, expected pictures (height, width, 3)",
                    file.display(),
                    rows.shape()
                )));
            }
            firsts.push(count);
            count += rows.count();
            let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            arrays.push((name, rows));
        }
        let name = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Pictures {
            root: path.to_path_buf(),
            classes: vec![name],
            labels: vec![0; count],
            places: Places::Rows { arrays, firsts },
        })
    }

    /// How many there are, 1 to 2^32 - 1.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// The names of the classes, by label.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The class of a picture, less than the number of classes.
    ///
    /// # Panics
    /// When there is no such picture.
    pub fn label(&self, picture: usize) -> u32 {
        self.labels[picture]
    }

    /// Where a picture lies: a path from what was opened, or the way through the tars.
    ///
    /// # Panics
    /// When there is no such picture.
    pub fn name(&self, picture: usize) -> Cow<'_, str> {
        match &self.places {
            Places::Files(files) => files[picture].to_string_lossy(),
            Places::Members { members, .. } => Cow::Borrowed(&members[picture].1.name),
            Places::Rows { arrays, firsts } => {
                let (array, row) = row(firsts, picture);
                Cow::Owned(format!("{}/arr_0[{row}]", arrays[array].0))
            }
        }
    }

    /// The middles of at most `most` pictures, `side` pixels wide, evenly taken from all, with their classes. Those that
    /// cannot be read are left out, and `unreadable` is told.
    ///
    /// # Errors
    /// `InvalidArgument` when none can be read.
    pub fn middles(
        &self,
        side: usize,
        most: usize,
        mut unreadable: impl FnMut(&Error),
    ) -> Result<Vec<(Picture, u32)>> {
        let (all, wanted) = (self.len(), most.min(self.len()));
        let mut found = Vec::new();
        for number in (0..wanted).map(|i| i * all / wanted) {
            match self.read(number).and_then(|picture| picture.center_crop(side)) {
                Ok(picture) => found.push((picture, self.label(number))),
                Err(error) => unreadable(&error),
            }
        }
        if found.is_empty() {
            return Err(Error::invalid("not one of the held-out pictures can be read"));
        }
        Ok(found)
    }

    /// Reads and decodes a picture, upright ([`Load::default`]).
    ///
    /// # Errors
    /// As [`Load::file`].
    ///
    /// # Panics
    /// When there is no such picture.
    pub fn read(&self, picture: usize) -> Result<Picture> {
        match &self.places {
            Places::Files(files) => Picture::load(self.root.join(&files[picture])),
            Places::Members { shards, members } => {
                let (shard, member) = &members[picture];
                let bytes = shards[*shard as usize].read(member.offset, member.len)?;
                Load::default().decode(&bytes).context(|| &member.name)
            }
            Places::Rows { arrays, firsts } => {
                let (array, row) = row(firsts, picture);
                let rows = &arrays[array].1;
                Picture::from_pixels(rows.shape()[1], rows.shape()[0], rows.read(row)?)
            }
        }
    }

    /// CRC-32 of the names and labels: whether two lists are of the same pictures.
    pub fn fingerprint(&self) -> u32 {
        let mut hasher = Hasher::new();
        for i in 0..self.len() {
            hasher.update(self.name(i).as_bytes());
            hasher.update(&self.label(i).to_le_bytes());
        }
        hasher.finalize()
    }
}

/// The array that a picture is in, and which row of it.
fn row(firsts: &[usize], picture: usize) -> (usize, usize) {
    let array = firsts.partition_point(|&first| first <= picture) - 1;
    (array, picture - firsts[array])
}

/// The classes of tars' members, sorted, and each member's.
fn classes(index: &Index) -> (Vec<String>, Vec<u32>) {
    // Names that begin differently in one tar are of different classes; a tar of one class says so by its own name.
    let mut begins: HashMap<u32, &str> = HashMap::new();
    let loose = index.members.iter().filter(|m| m.folder.is_none());
    let by_name =
        loose.clone().any(|m| begin(&m.name).is_some_and(|b| *begins.entry(m.tar).or_insert(b) != b));
    let class = |member: &Member| -> String {
        let tar = &index.tars[member.tar as usize];
        match (&member.folder, by_name.then(|| begin(&member.name)).flatten()) {
            (Some(folder), _) => folder.clone(),
            (None, Some(begin)) => begin.to_string(),
            (None, None) => tar.clone(),
        }
    };
    let mut numbers: HashMap<String, u32> = HashMap::new();
    let mut labels: Vec<u32> = Vec::with_capacity(index.members.len());
    for member in &index.members {
        let next = numbers.len() as u32;
        labels.push(*numbers.entry(class(member)).or_insert(next));
    }
    let mut classes: Vec<(String, u32)> = numbers.into_iter().collect();
    classes.sort();
    let mut places = vec![0; classes.len()];
    classes.iter().enumerate().for_each(|(place, (_, number))| places[*number as usize] = place as u32);
    labels.iter_mut().for_each(|label| *label = places[*label as usize]);
    (classes.into_iter().map(|(name, _)| name).collect(), labels)
}

/// What stands before the last `_` of a file's name.
fn begin(name: &str) -> Option<&str> {
    let file = name.rsplit('/').next().unwrap_or(name);
    file.rsplit_once('_').map(|(begin, _)| begin).filter(|b| !b.is_empty())
}

fn mixed(path: &Path, found: &str, expected: &str) -> Error {
    Error::invalid(format!(
        "{}: {found}, so that classes cannot be told: expected {expected}",
        path.display()
    ))
}
