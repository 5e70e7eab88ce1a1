//! `fqgan`: the command line.
fn main() {}
