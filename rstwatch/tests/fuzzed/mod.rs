//! The bodies of the fuzz targets in `fuzz/`. The test `seeds` runs them on the committed seeds.

pub mod btf;
pub mod context;
pub mod decode;
