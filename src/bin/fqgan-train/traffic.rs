use crate::recipe;
use fqgan::train::collective::BUCKET;
use fqgan::train::init;
use fqgan::{Error, Result};
use std::collections::BTreeMap;

/// What the processes of a run exchange in a step
///
/// Bytes by kind, and what each process sends where sums go round in a ring, which is the least that any way takes.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  fqgan-train traffic --recipe tokenizer-dual-f16 --ranks 8,64")]
pub struct Args {
    #[command(flatten)]
    recipe: recipe::Args,
    /// Processes
    #[arg(long, value_delimiter = ',', default_value = "2,8,64,512", value_parser = clap::value_parser!(u32).range(1..))]
    ranks: Vec<u32>,
    /// The elements of a teacher's class feature
    #[arg(long = "width", value_name = "NAME=N", value_parser = width)]
    widths: Vec<(String, usize)>,
}

/// Those of the teachers that the paper's recipes name.
const WIDTHS: [(&str, usize); 3] = [("clip_b16", 768), ("clip_l14", 1024), ("dinov2_s", 384)];

fn width(text: &str) -> std::result::Result<(String, usize), String> {
    let parts = text.split_once('=').and_then(|(name, n)| Some((name.to_string(), n.parse().ok()?)));
    parts.ok_or_else(|| "expected NAME=N".into())
}

/// Floats and bytes of a step.
struct Traffic {
    generator: usize,
    discriminator: usize,
    /// Numbers of codes of the whole batch.
    codes: usize,
    batch: usize,
}

pub fn run(args: &Args) -> Result<()> {
    let traffic = match args.recipe.kind()?.as_deref() {
        None => tokenizer(args)?,
        Some("far") => far(args)?,
        Some(kind) => return Err(Error::invalid(format!("a {kind} is trained by one process"))),
    };
    let mega = |bytes: usize| bytes as f64 / 1e6;
    let (generator, discriminator) = (4 * traffic.generator, 4 * traffic.discriminator);
    println!(
        "gradients            {:10.2} MB  in {} buckets",
        mega(generator),
        traffic.generator.div_ceil(BUCKET)
    );
    if discriminator > 0 {
        println!("the discriminator's  {:10.2} MB", mega(discriminator));
    }
    if traffic.codes > 0 {
        println!("codes                {:10.2} MB", mega(4 * traffic.codes));
    }
    for &ranks in &args.ranks {
        let n = ranks as usize;
        if !traffic.batch.is_multiple_of(n) {
            println!("{n:4} ranks: the batch of {} pictures is not as many for each", traffic.batch);
            continue;
        }
        let share = (n - 1) as f64 / n as f64;
        let sent = 2.0 * share * mega(generator + discriminator) + share * mega(4 * traffic.codes);
        println!("{n:4} ranks: each sends {sent:10.2} MB, for {} pictures of its own", traffic.batch / n);
    }
    Ok(())
}

fn tokenizer(args: &Args) -> Result<Traffic> {
    let recipe = args.recipe.read()?;
    let known = WIDTHS.iter().map(|&(name, width)| (name.to_string(), width));
    let widths: BTreeMap<String, usize> = known.chain(args.widths.iter().cloned()).collect();
    let config = recipe.model.config()?;
    let weights = init::tokenizer(&recipe, &widths, recipe.run.seed)?;
    let moves = |name: &&str| !recipe.freeze.iter().any(|begin| name.starts_with(begin));
    let count = |name: &str| Ok(weights.tensor(name)?.shape().count());
    let generator = weights.names().filter(moves).map(count).sum::<Result<usize>>()?;
    let discriminator = match recipe.adversarial.enabled {
        true => {
            let weights = init::discriminator(&recipe, recipe.run.seed)?;
            weights.names().map(|name| Ok(weights.tensor(name)?.shape().count())).sum::<Result<usize>>()?
        }
        false => 0,
    };
    let cells = (config.image_size / config.downsample()).pow(2);
    let codes = recipe.run.batch * cells * config.branches.len();
    Ok(Traffic { generator, discriminator, codes, batch: recipe.run.batch })
}

fn far(args: &Args) -> Result<Traffic> {
    let recipe = args.recipe.read_far()?;
    let manifest = recipe.model.config()?.manifest();
    let generator = manifest.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    Ok(Traffic { generator, discriminator: 0, codes: 0, batch: recipe.run.batch })
}
