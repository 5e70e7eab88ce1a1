//! Class-conditional generation of codes.

pub mod config;

pub use config::Config;
