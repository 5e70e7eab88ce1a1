use crate::recipe;
use fqgan::backend::Device;
use fqgan::backend::cpu::Cpu;
use fqgan::image::Picture;
use fqgan::teachers::{Lpips, Teacher};
use fqgan::tensor::Tensor;
use fqgan::train::{Recipe, Report, Teachers, TokenizerNetwork, Trainer, init};
use fqgan::weights::{Map, Source};
use fqgan::{Error, Result};
use serde_json::{Map as Object, Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// One forward and backward pass: every loss, every gradient's length
///
/// The tool to hold a recipe, a port or a device against another. Pictures are cropped to the middle, nothing is
/// random, all terms count from the start. Nothing is trained.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  fqgan-train step --recipe tokenizer-dual-f16 --weights fqgan_dual_ds16.pt --lpips lpips_vgg16.safetensors \\
      --teacher clip_l14=clip-vit-large-patch14.safetensors --pictures a.png b.png --json step.json")]
pub struct Args {
    #[command(flatten)]
    recipe: recipe::Args,
    /// The tokenizer's weights, prediction heads included; without, fresh ones by --seed
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// A PatchGAN's weights; without, there is no adversarial term
    #[arg(long, value_name = "FILE")]
    discriminator: Option<PathBuf>,
    /// VGG16 with LPIPS's heads; without, there is no perceptual term
    #[arg(long, value_name = "FILE")]
    lpips: Option<PathBuf>,
    /// The heads, where --lpips is torchvision's VGG16
    #[arg(long, value_name = "FILE", requires = "lpips")]
    lpips_heads: Option<PathBuf>,
    /// A tower, by the recipe's name; without, its semantic term is left out
    #[arg(long = "teacher", value_name = "NAME=FILE", value_parser = pair)]
    teachers: Vec<(String, PathBuf)>,
    /// The batch
    #[arg(long, num_args = 1.., value_name = "FILE", required_unless_present = "print_config")]
    pictures: Vec<PathBuf>,
    /// Where the numbers go; without, to the terminal
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Of fresh weights
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// 0: one a core
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

fn pair(text: &str) -> std::result::Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("expected NAME=FILE")?;
    Ok((name.to_string(), path.into()))
}

pub fn run(args: &Args) -> Result<()> {
    let mut recipe = args.recipe.read()?;
    if args.recipe.print_config {
        print!("{}", recipe.print()?);
        return Ok(());
    }
    let open = |path: &PathBuf| Source::open(path, Map::On);
    let teachers = teachers(args, &mut recipe)?;
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

    let device = Device::Cpu(Arc::new(Cpu::new(args.threads)?));
    let network = TokenizerNetwork::open(&recipe, &weights, discriminator.as_ref(), teachers)?;
    let mut trainer = Trainer::new(&recipe, &device, network, &weights, discriminator.as_ref())?;
    let pictures = batch(&args.pictures, recipe.model.image_size)?;
    let began = Instant::now();
    let (report, _) = trainer.gradients(&pictures, recipe.adversarial.weight)?;
    let json = numbers(&report, began.elapsed().as_secs_f64());
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

/// The frozen networks that were given; terms of others leave the recipe.
fn teachers(args: &Args, recipe: &mut Recipe) -> Result<Teachers> {
    let open = |path: &PathBuf| Source::open(path, Map::On);
    let mut teachers = Teachers::default();
    for (name, path) in &args.teachers {
        if !recipe.loss.semantic.iter().any(|s| s.teacher == *name) {
            return Err(Error::invalid(format!("--teacher {name}: the recipe has no such teacher")));
        }
        teachers.towers.insert(name.clone(), Teacher::open(&open(path)?)?);
    }
    recipe.loss.semantic.retain(|semantic| {
        let there = teachers.towers.contains_key(&semantic.teacher);
        if !there {
            eprintln!("no --teacher {}=FILE: no semantic term for {}", semantic.teacher, semantic.branch);
        }
        there
    });
    match &args.lpips {
        Some(path) => {
            let network = open(path)?;
            let heads = args.lpips_heads.as_ref().map(open).transpose()?;
            teachers.lpips = Some(Lpips::open(&network, heads.as_ref().unwrap_or(&network))?);
        }
        None if recipe.loss.perceptual_weight != 0.0 => {
            eprintln!("no --lpips: no perceptual term");
            recipe.loss.perceptual_weight = 0.0;
        }
        None => {}
    }
    Ok(teachers)
}

/// The middles of pictures, (n, side, side, 3).
fn batch(paths: &[PathBuf], side: usize) -> Result<Tensor> {
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
