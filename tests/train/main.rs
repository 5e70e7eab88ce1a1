//! Training, on networks small enough to take many steps.
#![cfg(feature = "train")]

mod codes;
mod data;
mod far;
mod recipes;
mod runs;
mod small;
mod steps;
mod style_gan2;
mod teacher;
