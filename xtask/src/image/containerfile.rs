//! deploy/image/Containerfile cannot be built without a registry of base images. What can be known of it: its files exist,
//! hold the whole build, and it says what [`dist`](crate::dist) and [`image`](super) say.

use std::fs;

use super::{COMMAND, ENTRYPOINT, USER};
use crate::dist;
use dev_support::paths;

fn lines() -> Vec<String> {
    let text = fs::read_to_string(paths::root().join("deploy/image/Containerfile")).expect("it is there");
    let text = text.replace("\\\n", " ");
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

/// What follows an instruction.
fn of(instruction: &str) -> Vec<String> {
    let lines = lines();
    lines.iter().filter_map(|line| line.strip_prefix(instruction)?.strip_prefix(' ')).map(str::to_owned).collect()
}

#[test]
fn what_is_copied_exists_and_is_the_whole_workspace() {
    let mut copied = Vec::new();
    for line in of("COPY").iter().filter(|line| !line.starts_with("--from")) {
        let words: Vec<_> = line.split(' ').collect();
        let (_, from) = words.split_last().expect("where to");
        copied.extend(from.iter().map(ToString::to_string));
    }
    for path in &copied {
        assert!(paths::root().join(path).exists(), "{path} is copied, and is not there");
    }
    let manifest: toml::Value =
        toml::from_str(&fs::read_to_string(paths::root().join("Cargo.toml")).expect("the manifest")).expect("TOML");
    // build.rs compares the object with its sources, which are no member.
    let members = manifest["workspace"]["members"].as_array().expect("members");
    let members = members.iter().map(|member| member.as_str().expect("a path")).chain(["rstwatch-ebpf", "Cargo.lock"]);
    for member in members {
        assert!(copied.iter().any(|path| path == member), "{member} is not copied");
    }
    let least = manifest["workspace"]["package"]["rust-version"].as_str().expect("a version");
    assert_eq!(of("ARG")[0], format!("RUST={least}"));
}

#[test]
fn it_builds_as_xtask_does() {
    let run = of("RUN").remove(0);
    for part in [dist::BUILD, &format!("RUSTFLAGS=\"{}\"", dist::STATIC), "CARGO_PROFILE_RELEASE_STRIP=symbols"] {
        assert!(run.contains(part), "{part:?} is not in {run:?}");
    }
}

#[test]
fn it_runs_as_the_image_does() {
    let last = |instruction: &str| of(instruction).pop().unwrap_or_default();
    let configured = ["ENTRYPOINT", "CMD", "USER", "WORKDIR", "EXPOSE", "STOPSIGNAL"].map(last);
    assert_eq!(configured, [ENTRYPOINT, COMMAND, USER, "/", super::PORT, super::SIGNAL]);
    assert_eq!(last("FROM"), "scratch");
    assert!(of("COPY").contains(&"--from=build /usr/local/bin/rstwatch /rstwatch".to_owned()));
}
