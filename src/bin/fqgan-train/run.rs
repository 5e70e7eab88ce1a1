//! What the commands that train have in common.

use crate::estimate;
use crate::log::Log;
use fqgan::backend::Device;
use fqgan::image::Picture;
use fqgan::train::codes::Stored;
use fqgan::train::collective::Group;
use fqgan::train::data::Pictures;
use fqgan::train::recipe::Run;
use fqgan::train::run::{End, Job, Watch, run};
use fqgan::train::{Folder, Report, Scalar};
use fqgan::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What every command that trains asks for.
#[derive(clap::Args)]
pub struct Args {
    /// Where everything goes
    #[arg(long, value_name = "FOLDER", required_unless_present_any = ["print_config", "dry_run"])]
    pub out: Option<PathBuf>,
    /// Go on where the run in the folder was cut; begin it if there is none
    #[arg(long)]
    pub resume: bool,
    /// Try two small steps, say what memory and time the run will take, and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Where to compute: auto, cpu, cuda, or cuda:1 for the second GPU
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: String,
    /// 0: one a core
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
}

impl Args {
    /// Where a process computes, each with a part of the batch.
    pub fn device(&self, run: &Run, group: &Group) -> Result<Device> {
        let each = group.share(run.batch)?;
        if !each.is_multiple_of(run.accumulate) {
            let parts = run.accumulate;
            return Err(Error::invalid(format!(
                "run.accumulate = {parts} parts of the {each} pictures of a process"
            )));
        }
        group.device(&self.device, self.threads)
    }
}

/// Becomes true when somebody asks the program to end.
pub fn stop() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, stop.clone())
            .map_err(|e| Error::io("waiting for signals", &e))?;
    }
    Ok(stop)
}

/// Trains in the folder `--out`, which is told how it goes.
pub fn go(args: &Args, recipe: &Run, device: &Device, job: &mut dyn Job, stop: &AtomicBool) -> Result<()> {
    let (out, resume) = (missing(&args.out, "--out")?, args.resume);
    let folder = Folder::open(out)?;
    let group = job.group();
    if !group.leads() {
        return run(recipe, &folder, resume, job, &mut Silent, stop).map(drop);
    }
    let mut log = Log::new(out, recipe, estimate::peak(device)?);
    match run(recipe, &folder, resume, job, &mut log, stop)? {
        End::Done => log.say(&format!("done: {}", out.join("last.safetensors").display())),
        End::Stopped => log.say("stopped and saved; --resume goes on"),
    }
    Ok(())
}

/// An argument that clap has asked for, but where it is not needed.
pub fn missing<'a>(argument: &'a Option<PathBuf>, name: &str) -> Result<&'a Path> {
    argument.as_deref().ok_or_else(|| Error::internal(format!("{name} was not asked for")))
}

/// Refuses processes of one run that are not of the same program and recipe.
pub fn agree(group: &Group, recipe: &str) -> Result<()> {
    group.agree_on_program()?;
    group.agree("recipe", crc32c::crc32c(recipe.as_bytes()))
}

/// Refuses processes that have other pictures.
pub fn agree_on_pictures(group: &Group, pictures: &Pictures) -> Result<()> {
    if group.size() == 1 {
        return Ok(());
    }
    let names = (0..pictures.len()).fold(0, |sum, picture| {
        crc32c::crc32c_append(sum, format!("{}\n", pictures.name(picture)).as_bytes())
    });
    group.agree("list of pictures", names)
}

/// Refuses processes that have other codes.
pub fn agree_on_codes(group: &Group, codes: &Stored) -> Result<()> {
    let about = crc32c::crc32c(format!("{:?}", codes.about()).as_bytes());
    let labels = (0..codes.len())
        .fold(about, |sum, picture| crc32c::crc32c_append(sum, &codes.label(picture).to_le_bytes()));
    group.agree("list of codes", labels)
}

/// Tells of a held-out picture that cannot be read, which all processes find out.
pub fn left_out(group: &Group, error: &Error) {
    if group.leads() {
        eprintln!("left out: {error}");
    }
}

/// A process that does not speak.
struct Silent;

impl Watch for Silent {
    fn begins(&mut self, _: u64) -> Result<()> {
        Ok(())
    }

    fn step(&mut self, _: u64, _: &Report) -> Result<()> {
        Ok(())
    }

    fn validated(&mut self, _: u64, _: &[Scalar]) -> Result<()> {
        Ok(())
    }

    fn pictures(&mut self, _: u64, _: &[(String, Picture)]) -> Result<()> {
        Ok(())
    }

    fn warn(&mut self, _: &str) {}
}
