//! `tests/hosts/cases.txt`, through the Rust calls; programs in C and C++ must write the same. The result lies in
//! `capi-cases.txt` of the tests' folder, where `scripts/hosts.sh` compares those of the other languages with it.

use crate::models::{generator_config, generator_file, tokenizer_config, tokenizer_file};
use crate::programs::{Tools, program_with, root};
use fqgan::backend::{Device, cpu::Cpu};
use fqgan::codes::{Codes, Info};
use fqgan::far::{self, Generator, Sampling};
use fqgan::image::{PixelFormat, View, ViewMut};
use fqgan::tokenizer::{self, Grid, Tokenizer};
use fqgan::weights::{Map, Source};
use std::fmt::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const N: usize = 64;

struct Stream(u32);

impl Stream {
    fn new(seed: u64) -> Stream {
        Stream((seed as u32).wrapping_mul(2_654_435_761).wrapping_add(1).max(1))
    }

    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    fn codes(&mut self, len: usize) -> Vec<u32> {
        (0..len).map(|_| self.next() % N as u32).collect()
    }

    fn image(&mut self, format: PixelFormat, bytes: usize) -> Vec<u8> {
        if matches!(format, PixelFormat::RgbF32 | PixelFormat::RgbF32Planar) {
            let floats = (0..bytes / 4).map(|_| ((self.next() >> 24) as f32 - 128.0) / 128.0);
            return floats.flat_map(f32::to_le_bytes).collect();
        }
        (0..bytes).map(|_| (self.next() >> 24) as u8).collect()
    }
}

/// Bytes from row to row, and of an image.
fn sizes(format: PixelFormat, width: usize, height: usize, pad: usize) -> (usize, usize) {
    let (pixel, planes) = match format {
        PixelFormat::Rgb8 => (3, 1),
        PixelFormat::Rgba8 | PixelFormat::Bgra8 => (4, 1),
        PixelFormat::RgbF32 => (12, 1),
        PixelFormat::RgbF32Planar => (4, 3),
    };
    let stride = width * pixel + pad;
    (stride, stride * height * planes)
}

struct Models {
    tokenizer: Tokenizer,
    generator: Generator,
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

impl Models {
    fn open() -> Models {
        let device = Device::Cpu(Cpu::new(2).unwrap().into());
        let source = |path| Source::open(path, Map::On).unwrap();
        Models {
            tokenizer: Tokenizer::open(&device, &source(tokenizer_file()), &tokenizer::Options::default())
                .unwrap(),
            generator: Generator::open(&device, &source(generator_file()), &far::Options::default()).unwrap(),
        }
    }

    /// What a line gives: its bytes, also with an error after a stop.
    fn run(&self, line: &str) -> (fqgan::Result<()>, Vec<u8>) {
        let mut parts = line.split(' ');
        let verb = parts.next().unwrap();
        let parts: Vec<&str> = parts.collect();
        let number = |i: usize| parts[i].parse::<u64>().unwrap();
        let n = |i| number(i) as usize;
        let classes = |from: usize| -> Vec<u32> { (from..parts.len()).map(|i| number(i) as u32).collect() };
        match verb {
            "encode" | "latents" => {
                let format = PixelFormat::from_number(n(0) as i32).unwrap();
                let (width, height) = (n(1), n(2));
                let (stride, bytes) = sizes(format, width, height, n(4));
                let pixels = Stream::new(number(5)).image(format, bytes * n(3));
                let views: Vec<_> = pixels
                    .chunks_exact(bytes)
                    .map(|pixels| View::new(pixels, width, height, stride, format).unwrap())
                    .collect();
                let len = n(3) * 2 * (width / 4) * (height / 4);
                if verb == "encode" {
                    let mut codes = vec![0; len];
                    let made = self.tokenizer.encode_into(&views, &mut codes);
                    return (made, words(&codes));
                }
                let mut latents = vec![0.0; len * 4];
                (self.tokenizer.latents_into(&views, &mut latents), floats(&latents))
            }
            "decode" => {
                let format = PixelFormat::from_number(n(0) as i32).unwrap();
                let grid = Grid { width: n(1), height: n(2) };
                let (width, height) = (4 * grid.width, 4 * grid.height);
                let (stride, bytes) = sizes(format, width, height, n(4));
                let codes = Stream::new(number(6)).codes(n(3) * 2 * grid.width * grid.height);
                let mut pixels = vec![0xA5; bytes * n(3)];
                let mut views: Vec<_> = pixels
                    .chunks_exact_mut(bytes)
                    .map(|pixels| ViewMut::new(pixels, width, height, stride, format).unwrap())
                    .collect();
                (self.tokenizer.decode_into(&codes, grid, n(5) as u32, &mut views), pixels)
            }
            "generate" => {
                let or = |value: f32, default| if value == 0.0 { default } else { value };
                let sampling = Sampling {
                    seed: number(0),
                    top_k: n(1),
                    top_p: parts[2].parse().unwrap(),
                    temperature: parts[3].parse().unwrap(),
                    guidance: or(parts[4].parse().unwrap(), 2.0),
                    steps: n(5),
                    ..Sampling::default()
                };
                self.generate(&classes(6), &sampling, usize::MAX)
            }
            "cancel" => {
                let sampling = Sampling { seed: number(1), ..Sampling::default() };
                self.generate(&classes(2), &sampling, n(0))
            }
            "logits" => {
                let classes = classes(1);
                let codes = Stream::new(number(0)).codes(classes.len() * 24);
                let mut logits = vec![0.0; codes.len() * N];
                (self.generator.logits_into(&classes, &codes, &mut logits), floats(&logits))
            }
            "pack" => {
                let info = Info { count: n(3), k: n(0), width: n(1), height: n(2), codebook_size: N };
                let codes = Codes::new(info, Stream::new(number(4)).codes(info.len().unwrap())).unwrap();
                (Ok(()), codes.pack().unwrap())
            }
            _ => panic!("unknown: {line}"),
        }
    }

    fn generate(&self, classes: &[u32], sampling: &Sampling, after: usize) -> (fqgan::Result<()>, Vec<u8>) {
        let mut codes = vec![0; classes.len() * 24];
        let stop = |done, _| if done >= after { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        let made = self.generator.generate_into(classes, sampling, &mut codes, &mut { stop });
        (made, words(&codes))
    }
}

/// The results, made once a process.
fn expected() -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| {
        let models = Models::open();
        let mut text = String::new();
        let cases = std::fs::read_to_string(root().join("tests/hosts/cases.txt")).unwrap();
        for line in cases.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (made, bytes) = models.run(line);
            let status = made.err().map_or(0, |error| error.status() as i32);
            write!(text, "{line}: {status}").unwrap();
            if status == 0 || status == fqgan::Status::Cancelled as i32 {
                text.push(' ');
                bytes.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
            }
            text.push('\n');
        }
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("capi-cases.txt");
        std::fs::write(&path, text).unwrap();
        path
    })
}

fn host(name: &str, standard: &str) {
    let cases = root().join("tests/hosts/cases.txt");
    let arguments = [&cases, tokenizer_file(), generator_file(), expected()];
    program_with("include", name, standard, &arguments, Tools::Sanitizers);
}

/// Other programs use the files: `scripts/hosts.sh`.
#[test]
fn the_files_are_complete() {
    let source = Source::open(tokenizer_file(), Map::On).unwrap();
    assert_eq!(tokenizer::Config::infer(&source).unwrap(), tokenizer_config());
    let source = Source::open(generator_file(), Map::On).unwrap();
    assert_eq!(far::Config::infer(&source).unwrap(), generator_config());
}

#[test]
fn a_status_of_each_kind_is_among_them() {
    let text = std::fs::read_to_string(expected()).unwrap();
    assert!(text.lines().count() > 45);
    for status in [": 0 ", ": 1", ": 7 "] {
        assert!(text.lines().any(|line| line.contains(status)), "{status}");
    }
}

#[test]
fn the_same_in_c() {
    host("../../hosts/cases.c", "c99");
}

#[test]
fn the_same_in_cpp() {
    host("../../hosts/cases.cpp", "c++17");
}
