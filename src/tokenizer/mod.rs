//! Photographs to codes and back.

pub mod config;

pub use config::Config;
