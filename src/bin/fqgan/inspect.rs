use crate::failure::Result;
use crate::print::say;
use fqgan::codes::Codes;
use fqgan::far;
use fqgan::tokenizer;
use fqgan::weights::{Format, Manifest, Map, Source};
use fqgan::{Error, error::Context};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Say what is in a weight file or a code file
///
/// For weights: kind, configuration, every tensor, what a complete model would need and the file lacks, what
/// it has and does not need, and the file's SHA-256. For codes: sizes, and how many different codes are used.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fqgan inspect model.safetensors
  fqgan inspect fqgan_dual_ds16.pt --summary
  fqgan inspect photo.fqc --codes")]
pub struct Args {
    /// A .safetensors, .pt or .fqc file
    file: PathBuf,
    /// Leave the list of tensors out
    #[arg(long)]
    summary: bool,
    /// Print the codes of a code file
    #[arg(long)]
    codes: bool,
}

pub fn run(args: &Args) -> Result {
    let file = &args.file;
    let io = |e| Error::io(format_args!("reading {}", file.display()), &e);
    let mut begin = Vec::new();
    File::open(file).map_err(io)?.take(4).read_to_end(&mut begin).map_err(io)?;
    if begin == *b"\x89FQC" { of_codes(args, &Codes::load(file)?) } else { of_weights(args) }
}

fn of_codes(args: &Args, codes: &Codes) -> Result {
    let info = codes.info();
    say!("{}: codes", args.file.display())?;
    say!("  images          {}", info.count)?;
    say!("  grid            {} rows x {} columns", info.height, info.width)?;
    say!("  sub-codebooks   {} of {} codes", info.k, info.codebook_size)?;
    let cells = info.height * info.width;
    for k in 0..info.k {
        let of_book = codes.images().flat_map(|image| &image[k * cells..][..cells]);
        let used: std::collections::HashSet<&u32> = of_book.collect();
        say!("  sub-codebook {k}  {} different codes in {} positions", used.len(), info.count * cells)?;
    }
    if args.codes {
        for (i, image) in codes.images().enumerate() {
            for (k, book) in image.chunks_exact(cells).enumerate() {
                say!("image {i}, sub-codebook {k}:")?;
                for row in book.chunks_exact(info.width) {
                    let row: Vec<String> = row.iter().map(u32::to_string).collect();
                    say!("{}", row.join(" "))?;
                }
            }
        }
    }
    Ok(())
}

fn of_weights(args: &Args) -> Result {
    let source = Source::open(&args.file, Map::On)?;
    let listing = source.listing();
    let elements: u128 = listing.iter().map(|(_, info)| info.count() as u128).sum();
    say!("{}: {} tensors, {elements} elements", args.file.display(), listing.len())?;
    if let Format::Checkpoint { part, others } = source.format() {
        let part =
            if part.is_empty() { "at the top".to_owned() } else { format!("under {}", part.join(".")) };
        say!("  checkpoint      of PyTorch, the weights stand {part}")?;
        if !others.is_empty() {
            say!("  not read        {}", others.join(", "))?;
        }
    }
    say!("  sha-256         {}", sha256(&args.file)?)?;
    for (key, value) in source.all_metadata() {
        say!("  {key:15} {value}")?;
    }
    let manifest = if tokenizer::Config::recognizes(listing) {
        of_tokenizer(&source)
    } else if far::Config::recognizes(listing) {
        of_generator(&source)
    } else {
        Err(Error::format(format!("{}: neither a tokenizer nor a generator", args.file.display())).into())
    };
    if !args.summary {
        say!("\nTensors:")?;
        let longest = listing.names().map(str::len).max().unwrap_or(0);
        for (name, info) in listing.iter() {
            say!("  {name:longest$}  {info}")?;
        }
    }
    // What the file is meant to be decides the exit code; its tensors are of use in any case.
    let manifest = manifest?;
    let found = manifest.compare(listing);
    if !found.left_over.is_empty() {
        say!("\nNot needed:")?;
        for name in &found.left_over {
            let why = if tokenizer::Config::only_for_training(name) { "  (only for training)" } else { "" };
            say!("  {name}{why}")?;
        }
    }
    if found.missing.is_empty() && found.wrong.is_empty() {
        return say!("\nComplete: all {} tensors that are needed are there.", manifest.len());
    }
    if !found.missing.is_empty() {
        say!("\nMissing:")?;
        for (name, shape) in &found.missing {
            say!("  {name}  {shape:?}")?;
        }
    }
    if !found.wrong.is_empty() {
        say!("\nWrong:")?;
        for (name, info, shape) in &found.wrong {
            say!("  {name}  {info}, expected f32, f16 or bf16 {shape:?}")?;
        }
    }
    let (missing, wrong) = (found.missing.len(), found.wrong.len());
    Err(Error::format(format!("{}: {missing} tensors missing, {wrong} wrong", args.file.display())).into())
}

fn of_tokenizer(source: &Source) -> Result<Manifest> {
    let config = tokenizer::Config::guess(source.listing()).context(|| source.name())?;
    let names: Vec<&str> = config.names().collect();
    let kind = match names[..] {
        ["vis", "sem"] => " (Dual)",
        ["vis", "sem_mid", "sem_high"] => " (Triple)",
        [_] => " (VQGAN)",
        _ => "",
    };
    let manifest = config.manifest();
    say!("  kind            tokenizer{kind}")?;
    say!("  sub-codebooks   {}", names.join(", "))?;
    say!("  codes           {} of {} elements each", config.codebook_size, config.code_dim)?;
    say!("  down-sampling   {}", config.downsample())?;
    say!("  picture size    {} x {}", config.image_size, config.image_size)?;
    say!("  channels        {} x {:?}, {} before the codes", config.ch, config.ch_mult, config.z_channels)?;
    say!("  parameters      {} that encoding and decoding need", manifest.parameters())?;
    Ok(manifest)
}

fn of_generator(source: &Source) -> Result<Manifest> {
    let config = far::Config::guess(source.listing(), source.all_metadata()).context(|| source.name())?;
    let manifest = config.manifest();
    let head = match config.head {
        far::config::Head::AutoRegressive { layers } => format!("autoregressive, {layers} layers"),
        far::config::Head::Linear => "linear classifiers".to_owned(),
        far::config::Head::Mlp { hidden } => format!("two-layer classifiers of width {hidden}"),
    };
    say!("  kind            generator")?;
    say!("  sub-codes       {} of {} codes", config.codebooks, config.codebook_size)?;
    say!("  grid            {} rows x {} columns", config.grid_height, config.grid_width)?;
    say!("  classes         {}", config.classes)?;
    say!("  backbone        {} layers, width {}, {} heads", config.layers, config.dim, config.heads)?;
    say!("  head            {head}")?;
    say!("  parameters      {}", manifest.parameters())?;
    Ok(manifest)
}

fn sha256(path: &Path) -> fqgan::Result<String> {
    let io = |e| Error::io(format_args!("reading {}", path.display()), &e);
    let mut hash = Sha256::new();
    std::io::copy(&mut File::open(path).map_err(io)?, &mut hash).map_err(io)?;
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
