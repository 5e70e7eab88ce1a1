use fqgan::Error;
use fqgan::eval::{Alone, Journal, Study, study};
use fqgan::image::Picture;
use std::fs;
use std::path::Path;

/// Adds up the first bytes of pictures, and remembers how many were looked at.
#[derive(Debug, Default)]
struct Adding {
    sum: u64,
    looked: std::cell::Cell<usize>,
}

impl Study for Adding {
    fn width(&self) -> usize {
        1
    }

    fn at_once(&self) -> usize {
        3
    }

    fn prepare(&self, picture: Picture) -> fqgan::Result<Picture> {
        Ok(picture)
    }

    fn look(&self, pictures: &[Picture]) -> fqgan::Result<Vec<u8>> {
        self.looked.set(self.looked.get() + pictures.len());
        Ok(pictures.iter().map(|p| p.pixels()[0]).collect())
    }

    fn take(&mut self, entry: &[u8]) -> fqgan::Result<()> {
        self.sum += u64::from(entry[0]);
        Ok(())
    }
}

fn read(i: usize) -> fqgan::Result<Picture> {
    if i % 4 == 3 {
        return Err(Error::invalid(format!("picture {i}")));
    }
    Picture::from_pixels(1, 1, vec![i as u8 + 1; 3])
}

fn run(kept: Option<(&Path, &str)>, stop_at: usize) -> fqgan::Result<(Adding, [usize; 2])> {
    let mut adding = Adding::default();
    let (seen, _) = study(&mut adding, 10, read, kept, &Alone, |done, _| {
        if done >= stop_at { Err(Error::invalid("stopped")) } else { Ok(()) }
    })?;
    Ok((adding, [seen.pictures, seen.left_out]))
}

/// Pictures 3 and 7 are left out.
const SUM: u64 = 55 - 4 - 8;

#[test]
fn ended_and_gone_on_with() {
    let (adding, seen) = run(None, 99).unwrap();
    assert_eq!((adding.sum, seen), (SUM, [8, 2]));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept");
    let kept = Some((path.as_path(), "numbers"));
    assert!(run(kept, 6).unwrap_err().message().contains("stopped"));
    let (adding, seen) = run(kept, 99).unwrap();
    assert_eq!((adding.sum, seen), (SUM, [8, 2]));
    assert!(adding.looked.get() < 8);
    assert_eq!(run(kept, 99).unwrap().0.looked.get(), 0);

    // Wherever the file is cut and whatever is behind that, the same comes out.
    let whole = fs::read(&path).unwrap();
    for len in 0..whole.len() {
        for tail in [&[][..], &[1][..], &[9; 20][..]] {
            // The beginning of a file is never another's.
            if len > 0 && len < 19 && len + tail.len() >= 19 {
                continue;
            }
            let bytes = if len == 0 { Vec::new() } else { [&whole[..len], tail].concat() };
            fs::write(&path, bytes).unwrap();
            let (adding, seen) = run(kept, 99).unwrap();
            assert_eq!((adding.sum, seen), (SUM, [8, 2]), "{len} bytes");
            assert_eq!(fs::read(&path).unwrap(), whole);
        }
    }
    let other = run(Some((&path, "letters")), 99).unwrap_err();
    assert!(other.message().contains("begun for other pictures"), "{other}");
}

#[test]
fn refusals() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept");
    let open = || Journal::open(&path, "a", 1, |_| Ok(()));
    let _first = open().unwrap();
    assert!(open().unwrap_err().message().contains("another process"));
    let missing = Journal::open(&folder.path().join("no/kept"), "a", 1, |_| Ok(())).unwrap_err();
    assert!(missing.message().contains("no/kept"));
    let mut adding = Adding::default();
    let none = study(&mut adding, 2, |_| Err(Error::invalid("none")), None, &Alone, |_, _| Ok(()));
    assert!(none.unwrap_err().message().contains("not one of 2 pictures"));
}
