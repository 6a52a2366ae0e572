//! What the fuzz targets of `fuzz/` do with their input. The test `seeds` does the same with the seeds that are kept.

pub mod btf;
pub mod context;
pub mod decode;
