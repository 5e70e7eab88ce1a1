use super::about::NONE;
use super::{About, Views, Writer};
use crate::error::{Error, Result, Status};
use crate::image::{Picture, View};
use crate::tokenizer::Tokenizer;
use crate::train::collective::Group;
use crate::train::data::{Pictures, Unreadable};
use crate::weights::Source;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

/// How codes are made of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Making {
    /// Side of a view, in pixels: a multiple of the tokenizer's factor.
    pub size: usize,
    /// Which views of a picture.
    pub views: Views,
    /// Which part of the pictures, from 0, and of how many.
    pub shard: (usize, usize),
}

/// Pixels that are handed to the tokenizer at once; codes reach the disk as often.
const PIXELS_AT_ONCE: usize = 4 * 256 * 256;

/// The views of a picture, or why there are none.
type Squares = Result<Vec<Picture>>;

impl Making {
    /// What the file will be about.
    ///
    /// # Errors
    /// As [`Tokenizer::grid`] and [`About::check`].
    pub fn about(&self, tokenizer: &Tokenizer, weights: &Source, pictures: &Pictures) -> Result<About> {
        let config = tokenizer.config();
        let grid = tokenizer.grid(self.size, self.size)?;
        let about = About {
            classes: pictures.classes().to_vec(),
            views: self.views,
            height: grid.height,
            width: grid.width,
            branches: config.names().map(str::to_string).collect(),
            codebook_size: config.codebook_size,
            shard: self.shard,
            origin: format!(
                "pictures {:08x}, size {}, weights {:08x}",
                pictures.fingerprint(),
                self.size,
                weights.fingerprint()?
            ),
        };
        about.check()?;
        Ok(about)
    }
}

/// Makes the file of `about` at `path`, or goes on making it: the codes of the pictures of its shard, in their order.
/// The processes of `group` share the work, and the first of them writes. `progress` is told how many pictures are done,
/// of how many, and each of this process's that could not be read; the error that it returns ends the work. Returns how
/// many could be read in this call, and how many could not.
///
/// # Errors
/// As [`Writer::open`]; the tokenizer's; as [`Group::gather`]; `OutOfMemory`.
pub fn make(
    tokenizer: &Tokenizer,
    pictures: &Pictures,
    making: &Making,
    about: &About,
    path: &Path,
    group: &Group,
    mut progress: impl FnMut(usize, usize, Option<&Unreadable>) -> Result<()>,
) -> Result<(usize, usize)> {
    let part = about.part(pictures.len());
    let labels: Vec<u32> = part.clone().map(|i| pictures.label(i)).collect();
    let at_once = (PIXELS_AT_ONCE / (making.size * making.size * about.views.count())).max(1);
    let mut writer = group.alone(|| Writer::open(path, about, &labels, at_once))?;
    let mut done = group.leaders(writer.as_ref().map_or(0, Writer::done) as u64)? as usize;
    let mut read = 0;
    progress(done, part.len(), None)?;
    let rest: Vec<usize> = part.clone().skip(done).collect();
    thread::scope(|scope| {
        let (sender, squares) = sync_channel::<Vec<Squares>>(1);
        let own = rest.chunks(at_once).skip(group.rank()).step_by(group.size());
        let reader = scope.spawn(move || prepare(pictures, own, making, &sender));
        for round in rest.chunks(at_once * group.size()) {
            let mut mine = Vec::new();
            if let Some(lot) = round.chunks(at_once).nth(group.rank()) {
                let Ok(found) = squares.recv() else { break };
                for (&picture, error) in
                    lot.iter().zip(&found).filter_map(|(i, s)| Some((i, s.as_ref().err()?)))
                {
                    if matches!(error.status(), Status::OutOfMemory | Status::Internal) {
                        return Err(error.clone());
                    }
                    let name = pictures.name(picture).into_owned();
                    let unreadable = Unreadable { picture, name, why: error.message().to_string() };
                    progress(done, part.len(), Some(&unreadable))?;
                }
                let found: Vec<_> = found.into_iter().map(Result::ok).collect();
                mine = encode(tokenizer, about, &found)?;
            }
            for lot in group.gather_lists(&mine)?.chunks(at_once * about.picture_len()) {
                let lot: Vec<_> = lot.chunks_exact(about.picture_len()).map(there).collect();
                read += lot.iter().flatten().count();
                done += lot.len();
                writer.as_mut().map_or(Ok(()), |writer| writer.push(&lot))?;
                progress(done, part.len(), None)?;
            }
        }
        drop(squares);
        reader.join().map_err(|_| Error::internal("the thread that reads pictures panicked"))
    })?;
    writer.map_or(Ok(()), Writer::finish)?;
    Ok((read, rest.len() - read))
}

/// The codes of a picture that could be read.
fn there(codes: &[u32]) -> Option<Vec<u32>> {
    (codes.first() != Some(&NONE)).then(|| codes.to_vec())
}

/// Reads lots of pictures and cuts their views, until nobody takes them any more.
fn prepare<'a>(
    pictures: &Pictures,
    lots: impl Iterator<Item = &'a [usize]>,
    making: &Making,
    to: &SyncSender<Vec<Squares>>,
) {
    for lot in lots {
        let squares =
            |&i: &usize| pictures.read(i).and_then(|picture| making.views.of(&picture, making.size));
        if to.send(lot.iter().map(squares).collect()).is_err() {
            return;
        }
    }
}

/// The codes of each picture's views, positions outside, sub-codes inside; of one that could not be read as many that
/// no code is.
fn encode(tokenizer: &Tokenizer, about: &About, group: &[Option<Vec<Picture>>]) -> Result<Vec<u32>> {
    let views: Vec<View<'_>> = group.iter().flatten().flatten().map(Picture::view).collect();
    let mut codes = vec![0; views.len() * about.view_len()];
    tokenizer.encode_into(&views, &mut codes)?;
    let (positions, k) = (about.positions(), about.k());
    let mut of_views = codes.chunks_exact(about.view_len());
    let mut all = Vec::with_capacity(group.len() * about.picture_len());
    for picture in group {
        match picture {
            Some(views) => of_views.by_ref().take(views.len()).for_each(|view| {
                (0..positions).for_each(|p| all.extend((0..k).map(|branch| view[branch * positions + p])));
            }),
            None => all.resize(all.len() + about.picture_len(), NONE),
        }
    }
    Ok(all)
}
