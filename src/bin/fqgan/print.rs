use crate::failure::{Failure, Result};
use fqgan::Error;
use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

/// Prints a line. A reader that went away (`| head`) ends the command quietly, a full disk is an error.
pub fn line(text: Arguments<'_>) -> Result {
    let mut out = std::io::stdout().lock();
    let written = out.write_fmt(text).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
    written.map_err(|e| match e.kind() {
        ErrorKind::BrokenPipe => Failure::Unread,
        _ => Error::io("printing", &e).into(),
    })
}

/// [`line`] of a format: `say!("{n} codes")?`.
macro_rules! say {
    ($($format:tt)*) => { $crate::print::line(format_args!($($format)*)) };
}
pub(crate) use say;
