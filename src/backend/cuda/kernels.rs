//! The kernels of `cuda/*.cu`, embedded as fat binaries, loaded at their first use.

use super::driver::{Driver, Function, Module};
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

// IMAGES: the operation that a file of kernels is named after, and its fat binary.
include!(concat!(env!("OUT_DIR"), "/images.rs"));

/// Shared memory that every kernel may have.
const PLAIN_SHARED: u32 = 48 << 10;

/// The kernels of one device.
#[derive(Default)]
pub(super) struct Kernels {
    modules: Mutex<HashMap<&'static str, Module>>,
    found: RwLock<HashMap<String, Arc<Kernel>>>,
}

/// A kernel that was loaded.
pub(super) struct Kernel {
    pub function: Function,
    /// Shared memory that it was allowed.
    shared: AtomicU32,
}

impl Kernels {
    /// A kernel that may use so much shared memory.
    pub fn get(&self, driver: &Driver, name: &str, shared: u32) -> Result<Arc<Kernel>> {
        let known = self.found.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        let kernel = match known {
            Some(kernel) => kernel,
            None => self.load(driver, name)?,
        };
        if shared > PLAIN_SHARED && shared > kernel.shared.load(Ordering::Acquire) {
            driver.allow_shared(&kernel.function, shared)?;
            kernel.shared.fetch_max(shared, Ordering::AcqRel);
        }
        Ok(kernel)
    }

    /// `fqgan_<operation>_...` is in the file of the operation.
    fn load(&self, driver: &Driver, name: &str) -> Result<Arc<Kernel>> {
        let rest = name.strip_prefix("fqgan_").unwrap_or_default();
        let of = |(operation, _): &&(&str, &[u8])| {
            rest.strip_prefix(operation).is_some_and(|rest| rest.starts_with('_'))
        };
        let (operation, image) = IMAGES
            .iter()
            .filter(of)
            .max_by_key(|(operation, _)| operation.len())
            .ok_or_else(|| Error::internal(format!("no file of cuda/ has the kernel {name}")))?;
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if !modules.contains_key(operation) {
            modules.insert(operation, driver.load(image)?);
        }
        let module = modules.get(operation).ok_or_else(|| Error::internal("no module"))?;
        let function = driver.function(module, name)?;
        let kernel = Arc::new(Kernel { function, shared: AtomicU32::new(PLAIN_SHARED) });
        let mut found = self.found.write().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(found.entry(name.to_string()).or_insert(kernel)))
    }
}
