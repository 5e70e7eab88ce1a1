use crate::{networks, recipe, step_far};
use fqgan::backend::Device;
use fqgan::image::Picture;
use fqgan::tensor::Tensor;
use fqgan::train::{Recipe, Report, Teachers, TokenizerNetwork, Trainer, init};
use fqgan::weights::{Map, Source};
use fqgan::{Error, Result};
use serde_json::{Map as Object, Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

/// One forward and backward pass: every loss, every gradient's length
///
/// The tool to hold a recipe, a port or a device against another. Pictures are cropped to the middle, nothing is
/// random, all terms count from the start, those whose networks are not given are left out. Nothing is trained.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  fqgan-train step --recipe tokenizer-dual-f16 --weights fqgan_dual_ds16.pt --lpips lpips_vgg16.safetensors \\
      --teacher clip_l14=clip-vit-large-patch14.safetensors --pictures a.png b.png --json step.json
  fqgan-train step --recipe far-b --weights far_b.pt --codes codes.safetensors --count 2 --json step.json
  fqgan-train step --recipe far-b --weights far_b.pt --tokenizer fqgan_dual_ds16.pt --pictures a.png --labels 207")]
pub struct Args {
    #[command(flatten)]
    pub recipe: recipe::Args,
    /// The tokenizer's weights, prediction heads included, or the generator's; without, fresh ones by --seed
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// A PatchGAN's weights; without, there is no adversarial term
    #[arg(long, value_name = "FILE")]
    discriminator: Option<PathBuf>,
    #[command(flatten)]
    networks: networks::Args,
    /// The batch
    #[arg(long, num_args = 1.., value_name = "FILE", required_unless_present_any = ["print_config", "codes"])]
    pub pictures: Vec<PathBuf>,
    #[command(flatten)]
    pub far: step_far::Args,
    /// Where the numbers go; without, to the terminal
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Of fresh weights
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Where to compute: auto, cpu, cuda, or cuda:1 for the second GPU
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: String,
    /// 0: one a core
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
}

pub fn run(args: &Args) -> Result<()> {
    if args.recipe.kind()?.as_deref() == Some("far") {
        return step_far::run(args);
    }
    if args.far.given() {
        return Err(Error::invalid(
            "--codes, --count, --labels and --tokenizer are for a generator's recipe",
        ));
    }
    let mut recipe = args.recipe.read()?;
    if args.recipe.print_config {
        print!("{}", recipe.print()?);
        return Ok(());
    }
    let open = |path: &PathBuf| Source::open(path, Map::On);
    let teachers = args.networks.open(&recipe)?;
    leave_out(&mut recipe, &teachers);
    let widths: BTreeMap<String, usize> =
        teachers.towers.iter().map(|(name, tower)| (name.clone(), tower.width())).collect();
    let weights = match &args.weights {
        Some(path) => open(path)?,
        None => init::tokenizer(&recipe, &widths, args.seed)?,
    };
    let discriminator = args.discriminator.as_ref().map(open).transpose()?;
    if recipe.adversarial.enabled && discriminator.is_none() {
        eprintln!("no --discriminator: no adversarial term");
    }
    let discriminator = discriminator.filter(|_| recipe.adversarial.enabled);

    let device = Device::named(&args.device, args.threads)?;
    let network = TokenizerNetwork::open(&recipe, &weights, discriminator.as_ref(), teachers)?;
    let mut trainer = Trainer::new(&recipe, &device, network, &weights, discriminator.as_ref())?;
    let pictures = batch(&args.pictures, recipe.model.image_size)?;
    let began = Instant::now();
    let (report, _) = trainer.gradients(&pictures, Some(recipe.adversarial.weight))?;
    tell(args, &report, began)
}

/// Writes the numbers of a step that began then.
pub fn tell(args: &Args, report: &Report, began: Instant) -> Result<()> {
    let json = numbers(report, began.elapsed().as_secs_f64());
    let text = serde_json::to_string_pretty(&json).map_err(|e| Error::internal(e.to_string()))?;
    match &args.json {
        Some(path) => {
            std::fs::write(path, text + "\n")
                .map_err(|e| Error::io(format_args!("writing {}", path.display()), &e))?;
            report.scalars.iter().for_each(|s| println!("{:<24} {:.6}", s.name, s.value));
        }
        None => println!("{text}"),
    }
    match report.broken() {
        Some(name) => Err(Error::invalid(format!("{name} is not finite"))),
        None => Ok(()),
    }
}

/// Terms whose networks were not given leave the recipe.
fn leave_out(recipe: &mut Recipe, teachers: &Teachers) {
    recipe.loss.semantic.retain(|semantic| {
        let there = teachers.towers.contains_key(&semantic.teacher);
        if !there {
            eprintln!("no --teacher {}=FILE: no semantic term for {}", semantic.teacher, semantic.branch);
        }
        there
    });
    if teachers.lpips.is_none() && recipe.loss.perceptual_weight != 0.0 {
        eprintln!("no --lpips: no perceptual term");
        recipe.loss.perceptual_weight = 0.0;
    }
}

/// The middles of pictures, (n, side, side, 3).
pub fn batch(paths: &[PathBuf], side: usize) -> Result<Tensor> {
    let each = side * side * 3;
    let mut pixels = vec![0.0; paths.len() * each];
    for (path, pixels) in paths.iter().zip(pixels.chunks_exact_mut(each)) {
        let picture = Picture::load(path)?.center_crop(side).map_err(|e| e.context(path.display()))?;
        picture.view().read_into(pixels, 0..side)?;
    }
    Tensor::from_slice([paths.len(), side, side, 3], &pixels)
}

fn numbers(report: &Report, seconds: f64) -> Value {
    let object = |all: &BTreeMap<String, f64>| -> Object<String, Value> {
        all.iter().map(|(name, value)| (name.clone(), json!(value))).collect()
    };
    let losses: Object<String, Value> =
        report.scalars.iter().map(|s| (s.name.clone(), json!(s.value))).collect();
    json!({
        "losses": losses,
        "gradients": object(&report.gradients),
        "discriminator_gradients": object(&report.discriminator_gradients),
        "seconds": seconds,
    })
}
