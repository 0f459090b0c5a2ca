//! Settings: what may be written, where it was written, and what it means.

mod settings;

pub use settings::*;
