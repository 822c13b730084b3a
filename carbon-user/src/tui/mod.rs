//! `carbon top` on a terminal: a view of the windows that are measured, and no part of measuring them.
//!
//! [`app`] is what is shown and what a key does, pure: events in, state out, and [`view`] draws the state. [`thread`] gives
//! it windows and keys and writes to the terminal, on a thread of its own: who measures hands windows over and never waits, so
//! that a slow terminal loses frames and no window. [`screen`] takes the terminal and puts it back, however this ends.
//!
//! Cost: docs/top.md has the CPU time that the view of a window of 500 workloads takes; a key costs as much.

pub mod app;
pub mod figures;
pub mod history;
pub mod keys;
pub mod names;
pub mod order;
pub mod processes;
#[cfg(test)]
pub(crate) mod samples;
pub mod screen;
pub mod thread;
pub mod tree;
pub mod view;
