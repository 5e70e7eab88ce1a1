//! Where values live and how work is started. No operation lives here.

mod arena;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod device;

#[cfg(feature = "cuda")]
pub use cuda::{Exchange, Link, LinkId};
pub use device::{Between, Device, Lease, Recording, Workspace, Workspaces};
