use crate::failure::Result;
use crate::files::{self, Kind};
use crate::generator::{GeneratorArgs, Pair};
use crate::print::say;
use crate::progress;
use fqgan::codes::Codes;
use fqgan::error::Context;
use fqgan::far::Generator;
use fqgan::{Error, Result as Computed};
use std::f64::consts::LN_2;
use std::path::PathBuf;

/// Say how likely a generator finds pictures, in bits
///
/// The bits of a picture are -log2 of the probability of its codes, given its class, without guidance: what a
/// perfect coder would need to store them. Pictures are scaled and cut to the generator's size.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fqgan score -g far.safetensors -m tokenizer.safetensors --class 207 dog.jpg
  fqgan score -g far.safetensors codes.fqc")]
pub struct Args {
    /// Pictures, code files, or folders of them
    #[arg(required = true, value_name = "FILE")]
    inputs: Vec<PathBuf>,
    /// Their class by number [default: none, as for the null class of guidance]
    #[arg(long, value_name = "N")]
    class: Option<u32>,
    /// Compute the logits also as generation does, position by position out of the cache, and fail where they are
    /// not the same: slow
    #[arg(long)]
    check_cache: bool,
    #[command(flatten)]
    model: GeneratorArgs,
}

const EITHER: Kind =
    Kind { name: "pictures or code files", extensions: &["png", "jpg", "jpeg", "webp", "fqc"] };

pub fn run(args: &Args) -> Result {
    let inputs = files::collect(&args.inputs, &EITHER)?;
    let pair = Pair::open(&args.model)?;
    let class = args.class.unwrap_or(pair.generator.config().classes as u32);
    let mut lines = Vec::new();
    let mut total = 0.0;
    let mut images = 0usize;
    let result = progress::each(
        &inputs,
        "files",
        args.model.quiet,
        |i| &i.path,
        |input| {
            let codes = pair.codes_of(&input.path)?;
            let info = codes.info();
            let mut nats = vec![0.0; codes.data().len()];
            pair.generator.surprise_into(&vec![class; info.count], codes.data(), &mut nats)?;
            if args.check_cache {
                check_cache(&pair.generator, class, &codes).context(|| input.path.display())?;
            }
            let cells = info.height * info.width;
            for (i, nats) in nats.chunks_exact(info.image_len()?).enumerate() {
                let bits = |nats: &[f32]| nats.iter().map(|n| f64::from(*n)).sum::<f64>() / LN_2;
                let of_book = pair.names().into_iter().zip(nats.chunks_exact(cells));
                let parts: Vec<String> =
                    of_book.map(|(name, nats)| format!("{name} {:.1}", bits(nats))).collect();
                let all = bits(nats);
                let which = if info.count > 1 { format!(" image {i}") } else { String::new() };
                lines.push(format!(
                    "{}{which}: {all:.1} bits ({}), {:.3} a code",
                    input.path.display(),
                    parts.join(", "),
                    all / nats.len() as f64
                ));
                total += all;
                images += 1;
            }
            Ok(None)
        },
    );
    for line in &lines {
        say!("{line}")?;
    }
    if images > 1 {
        say!("mean of {images} images: {:.1} bits", total / images as f64)?;
    }
    result
}

/// Relative L2 distance up to which logits count as the same.
const SAME: f64 = 1e-5;

fn check_cache(generator: &Generator, class: u32, codes: &Codes) -> Computed<()> {
    for (i, image) in codes.images().enumerate() {
        let mut forced = vec![0.0f32; image.len() * codes.info().codebook_size];
        let mut cached = forced.clone();
        generator.logits_into(&[class], image, &mut forced)?;
        generator.cached_logits_into(&[class], image, &mut cached)?;
        let square = |x: f32| f64::from(x) * f64::from(x);
        let error: f64 = forced.iter().zip(&cached).map(|(a, b)| square(a - b)).sum();
        let distance = (error / forced.iter().map(|&a| square(a)).sum::<f64>()).sqrt();
        // Not a number is not the same either.
        if distance.is_nan() || distance > SAME {
            return Err(Error::internal(format!(
                "image {i}: logits out of the cache differ from teacher-forced ones by {distance:.1e}, at most {SAME:.0e} is right"
            )));
        }
    }
    Ok(())
}
