//! Where values live and how work is started. No operation lives here.

pub mod cpu;
mod device;

pub use device::{Device, Lease, Workspace, Workspaces};
