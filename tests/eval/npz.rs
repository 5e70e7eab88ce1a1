//! Archives of arrays: what is not as it should be is told.

use fqgan::Status;
use fqgan::npz::{Npz, Rows, Writer};
use std::fs;
use std::path::Path;

fn write(path: &Path, rows: usize) {
    let mut writer = Writer::open(path, &[rows, 2, 3], 0).unwrap();
    writer.push(&(0..rows as u8 * 6).collect::<Vec<u8>>()).unwrap();
    writer.finish(&[4, 5]).unwrap();
}

#[test]
fn there_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npz");
    write(&path, 3);
    let npz = Npz::open(&path).unwrap();
    let names: Vec<_> =
        npz.arrays().iter().map(|a| (a.name.as_str(), a.shape.clone(), a.dtype.as_str())).collect();
    assert_eq!(names, [("arr_0", vec![3, 2, 3], "|u1"), ("arr_1", vec![2], "<i8")]);
    let rows = Rows::open(&npz, "arr_0").unwrap();
    for row in [2, 0, 1] {
        assert_eq!(rows.read(row).unwrap(), (row as u8 * 6..row as u8 * 6 + 6).collect::<Vec<u8>>());
    }
    assert!(npz.floats("mu").unwrap().is_none());
}

#[test]
fn refusals() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npz");
    write(&path, 3);
    let npz = Npz::open(&path).unwrap();
    let said = |error: fqgan::Error, status| {
        assert_eq!(error.status(), status, "{error}");
        error.message().to_string()
    };
    assert!(
        said(Rows::open(&npz, "arr_1").unwrap_err(), Status::Format)
            .contains("[2] of <i8, expected rows of |u1")
    );
    assert!(
        said(Rows::open(&npz, "b").unwrap_err(), Status::Format).contains("no array b, it has arr_0, arr_1")
    );
    assert!(said(npz.floats("arr_1").unwrap_err(), Status::Format).contains("expected f4 or f8"));
    assert!(said(Npz::open(folder.path().join("b.npz")).unwrap_err(), Status::Io).contains("b.npz"));
    assert!(
        said(Writer::open(&path, &[3, 2], 0).unwrap_err(), Status::InvalidArgument).contains("there already")
    );
    let other = folder.path().join("c.npz");
    assert!(said(Writer::open(&other, &[], 0).unwrap_err(), Status::InvalidArgument).contains("no rows"));
    let mut writer = Writer::open(&other, &[2, 4], 0).unwrap();
    assert!(
        said(Writer::open(&other, &[2, 4], 0).unwrap_err(), Status::InvalidArgument)
            .contains("another process")
    );
    assert!(
        said(writer.push(&[0; 5]).unwrap_err(), Status::InvalidArgument)
            .contains("5 bytes after 0 of 2 rows")
    );
    writer.push(&[1; 4]).unwrap();
    assert!(said(writer.push(&[0; 8]).unwrap_err(), Status::InvalidArgument).contains("after 1 of 2 rows"));
    assert!(said(writer.finish(&[]).unwrap_err(), Status::InvalidArgument).contains("1 of 2 rows"));
    // What there is of it is gone on with, but for rows that are not trusted.
    assert_eq!(Writer::open(&other, &[2, 4], 0).unwrap().done(), 1);
    assert_eq!(Writer::open(&other, &[2, 4], 1).unwrap().done(), 0);

    // Cut anywhere, or with any byte changed, an archive is read or refused, and never more than that.
    let bytes = fs::read(&path).unwrap();
    let all = |path: &Path| -> fqgan::Result<()> {
        let rows = Rows::open(&Npz::open(path)?, "arr_0")?;
        (0..rows.count().min(100)).try_for_each(|i| rows.read(i).map(drop))
    };
    let damaged = folder.path().join("damaged.npz");
    for len in 0..bytes.len() {
        fs::write(&damaged, &bytes[..len]).unwrap();
        assert!(all(&damaged).is_err(), "{len} bytes");
    }
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x55;
        fs::write(&damaged, changed).unwrap();
        let _ = all(&damaged);
    }
}
