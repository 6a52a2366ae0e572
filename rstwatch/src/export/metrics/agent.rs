//! Metrics of the agent itself: its web configuration and its build.

use std::fmt;

use crate::export::Build;
use crate::metric::{Family, Label, Writer};

const VERSION: Label = Label::new("version", "version of the build");
const REVISION: Label = Label::new("revision", "commit of the build");
const OBJECT: Label = Label::new("object", "SHA-256 of the eBPF object, hexadecimal");

/// Whether the newest web configuration is in use.
pub(super) const WEB_CONFIG: &[Family<bool>] = &[Family::gauge(
    "web_config_last_reload_successful",
    "1 if the current --web.config.file and its certificates are in use; 0 if they cannot be used and an older version still is.",
    |is_up_to_date, out| out.gauge(Some(u64::from(*is_up_to_date))),
)];

/// Identifies this build.
pub(super) const BUILD: &[Family<Build>] =
    &[Family::gauge("build_info", "Always 1; the labels identify the build and its eBPF object.", build_info)
        .labels(&[VERSION, REVISION, OBJECT])];

fn build_info(build: &Build, out: Writer<'_, '_>) -> fmt::Result {
    let Build { version, revision, object } = *build;
    out.samples()?.gauge(&[version, revision, object], 1_u64)
}
