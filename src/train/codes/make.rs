use super::{About, Views, Writer};
use crate::error::{Error, Result, Status};
use crate::image::{Picture, View};
use crate::tokenizer::Tokenizer;
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
/// `progress` is told how many pictures are done, of how many, and each that could not be read; the error that it
/// returns ends the work. Returns how many could be read in this call, and how many could not.
///
/// # Errors
/// As [`Writer::open`]; the tokenizer's; `OutOfMemory`.
pub fn make(
    tokenizer: &Tokenizer,
    pictures: &Pictures,
    making: &Making,
    about: &About,
    path: &Path,
    mut progress: impl FnMut(usize, usize, Option<&Unreadable>) -> Result<()>,
) -> Result<(usize, usize)> {
    let part = about.part(pictures.len());
    let labels: Vec<u32> = part.clone().map(|i| pictures.label(i)).collect();
    let at_once = (PIXELS_AT_ONCE / (making.size * making.size * about.views.count())).max(1);
    let mut writer = Writer::open(path, about, &labels, at_once)?;
    let (mut read, mut lost) = (0, 0);
    progress(writer.done(), part.len(), None)?;
    thread::scope(|scope| {
        let (sender, squares) = sync_channel::<Vec<Squares>>(1);
        let rest: Vec<usize> = part.clone().skip(writer.done()).collect();
        let reader = scope.spawn(move || prepare(pictures, &rest, making, at_once, &sender));
        for group in squares {
            for (i, error) in group.iter().enumerate().filter_map(|(i, g)| Some((i, g.as_ref().err()?))) {
                if matches!(error.status(), Status::OutOfMemory | Status::Internal) {
                    return Err(error.clone());
                }
                let picture = part.start + writer.done() + i;
                let name = pictures.name(picture).into_owned();
                let unreadable = Unreadable { picture, name, why: error.message().to_string() };
                lost += 1;
                progress(writer.done(), part.len(), Some(&unreadable))?;
            }
            let group: Vec<_> = group.into_iter().map(Result::ok).collect();
            read += group.iter().flatten().count();
            writer.push(&encode(tokenizer, about, &group)?)?;
            progress(writer.done(), part.len(), None)?;
        }
        reader.join().map_err(|_| Error::internal("the thread that reads pictures panicked"))
    })?;
    writer.finish()?;
    Ok((read, lost))
}

/// Reads pictures and cuts their views, until nobody takes them any more.
fn prepare(
    pictures: &Pictures,
    which: &[usize],
    making: &Making,
    at_once: usize,
    to: &SyncSender<Vec<Squares>>,
) {
    for group in which.chunks(at_once) {
        let squares =
            |&i: &usize| pictures.read(i).and_then(|picture| making.views.of(&picture, making.size));
        if to.send(group.iter().map(squares).collect()).is_err() {
            return;
        }
    }
}

/// The codes of each picture's views, positions outside, sub-codes inside.
fn encode(
    tokenizer: &Tokenizer,
    about: &About,
    group: &[Option<Vec<Picture>>],
) -> Result<Vec<Option<Vec<u32>>>> {
    let views: Vec<View<'_>> = group.iter().flatten().flatten().map(Picture::view).collect();
    let mut codes = vec![0; views.len() * about.view_len()];
    tokenizer.encode_into(&views, &mut codes)?;
    let (positions, k) = (about.positions(), about.k());
    let mut of_views = codes.chunks_exact(about.view_len());
    let turned = |view: &[u32], out: &mut Vec<u32>| {
        (0..positions).for_each(|p| out.extend((0..k).map(|branch| view[branch * positions + p])));
    };
    let one = |picture: &Option<Vec<Picture>>| {
        picture.as_ref().map(|views| {
            let mut out = Vec::with_capacity(about.picture_len());
            of_views.by_ref().take(views.len()).for_each(|view| turned(view, &mut out));
            out
        })
    };
    Ok(group.iter().map(one).collect())
}
