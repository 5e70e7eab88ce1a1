use fqgan::Status;
use fqgan::image::{Cell, Picture, grid};

fn plain(width: usize, height: usize, colour: [u8; 3]) -> Picture {
    let mut picture = Picture::new(width, height).unwrap();
    picture.pixels_mut().as_chunks_mut::<3>().0.fill(colour);
    picture
}

fn at(picture: &Picture, x: usize, y: usize) -> [u8; 3] {
    picture.row(y).as_chunks::<3>().0[x]
}

#[test]
fn pictures_stand_where_they_should() {
    let (red, green) = ([200, 0, 0], [0, 200, 0]);
    let (a, b) = (plain(10, 6, red), plain(4, 8, green));
    let cell = |picture| Cell { picture, caption: "" };
    let page = grid(&[vec![cell(&a), cell(&b)], vec![cell(&b)]], 3).unwrap();
    assert_eq!((page.width(), page.height()), (3 + 10 + 3 + 4 + 3, 3 + 8 + 3 + 8 + 3));
    let white = [255; 3];
    for y in 0..page.height() {
        for x in 0..page.width() {
            let want = match (x, y) {
                (3..13, 3..9) => red,
                (16..20, 3..11) | (3..7, 14..22) => green,
                _ => white,
            };
            assert_eq!(at(&page, x, y), want, "({x}, {y})");
        }
    }
}

/// An `I` and an `L`, letter by letter, and no letter outside of the picture's width.
#[test]
fn captions() {
    let a = plain(14, 2, [9, 9, 9]);
    let page = grid(&[vec![Cell { picture: &a, caption: "il and more" }]], 1).unwrap();
    assert_eq!((page.width(), page.height()), (16, 1 + 9 + 2 + 1));
    let drawn: Vec<String> = (1..10)
        .map(|y| (1..15).map(|x| if at(&page, x, y) == [255; 3] { '.' } else { '#' }).collect())
        .collect();
    let stem = "..#...#.......";
    assert_eq!(
        drawn[..8],
        [".###..#.......", stem, stem, stem, stem, stem, ".###..#####...", ".............."]
    );
    assert_eq!(at(&page, 1, 10), [9, 9, 9]);
}

#[test]
fn nothing_is_no_grid() {
    for rows in [vec![], vec![vec![]]] {
        assert_eq!(grid(&rows, 4).unwrap_err().status(), Status::InvalidArgument);
    }
    let a = plain(1, 1, [0; 3]);
    let cell = Cell { picture: &a, caption: "" };
    assert_eq!(grid(&[vec![cell]], usize::MAX).unwrap_err().status(), Status::InvalidArgument);
}
