//! What the commands that train have in common.

use crate::estimate;
use crate::log::Log;
use fqgan::backend::Device;
use fqgan::train::Folder;
use fqgan::train::recipe::Run;
use fqgan::train::run::{End, Job, run};
use fqgan::{Error, Result};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Becomes true when somebody asks the program to end.
pub fn stop() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, stop.clone())
            .map_err(|e| Error::io("waiting for signals", &e))?;
    }
    Ok(stop)
}

/// Trains in the folder `out`, which is told how it goes.
pub fn go(
    recipe: &Run,
    out: &Path,
    resume: bool,
    device: &Device,
    job: &mut dyn Job,
    stop: &AtomicBool,
) -> Result<()> {
    let folder = Folder::open(out)?;
    let mut log = Log::new(out, recipe, estimate::peak(device)?);
    match run(recipe, &folder, resume, job, &mut log, stop)? {
        End::Done => log.say(&format!("done: {}", out.join("last.safetensors").display())),
        End::Stopped => log.say("stopped and saved; --resume goes on"),
    }
    Ok(())
}
