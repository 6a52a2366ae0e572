//! Tests of deploy/image/Containerfile that need no registry of base images: the files that it copies exist and form the whole
//! workspace, and its settings agree with [`dist`](crate::dist) and [`image`](super).

use std::fs;

use super::{COMMAND, ENTRYPOINT, USER};
use crate::dist;
use dev_support::paths;

fn lines() -> Vec<String> {
    let text = fs::read_to_string(paths::root().join("deploy/image/Containerfile")).expect("the Containerfile");
    let text = text.replace("\\\n", " ");
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

/// The arguments of each occurrence of an instruction.
fn arguments(instruction: &str) -> Vec<String> {
    let lines = lines();
    lines.iter().filter_map(|line| line.strip_prefix(instruction)?.strip_prefix(' ')).map(str::to_owned).collect()
}

#[test]
fn copies_the_whole_workspace() {
    let mut copied = Vec::new();
    for line in arguments("COPY").iter().filter(|line| !line.starts_with("--from")) {
        let words: Vec<_> = line.split(' ').collect();
        let (_, from) = words.split_last().expect("a destination");
        copied.extend(from.iter().map(ToString::to_string));
    }
    for path in &copied {
        assert!(paths::root().join(path).exists(), "{path} does not exist");
    }
    let manifest: toml::Value =
        toml::from_str(&fs::read_to_string(paths::root().join("Cargo.toml")).expect("the manifest")).expect("TOML");
    // build.rs compares the eBPF object with its sources, which are not a workspace member.
    let members = manifest["workspace"]["members"].as_array().expect("members");
    let members = members.iter().map(|member| member.as_str().expect("a path")).chain(["rstwatch-ebpf", "Cargo.lock"]);
    for member in members {
        assert!(copied.iter().any(|path| path == member), "{member} is not copied");
    }
    let least = manifest["workspace"]["package"]["rust-version"].as_str().expect("a version");
    assert_eq!(arguments("ARG")[0], format!("RUST={least}"));
}

#[test]
fn builds_like_xtask() {
    let run = arguments("RUN").remove(0);
    for part in [dist::BUILD, &format!("RUSTFLAGS=\"{}\"", dist::STATIC), "CARGO_PROFILE_RELEASE_STRIP=symbols"] {
        assert!(run.contains(part), "{part:?} is missing from {run:?}");
    }
}

#[test]
fn has_the_configuration_of_the_image() {
    let last = |instruction: &str| arguments(instruction).pop().unwrap_or_default();
    let configured = ["ENTRYPOINT", "CMD", "USER", "WORKDIR", "EXPOSE", "STOPSIGNAL"].map(last);
    assert_eq!(configured, [ENTRYPOINT, COMMAND, USER, "/", super::PORT, super::SIGNAL]);
    assert_eq!(last("FROM"), "scratch");
    assert!(arguments("COPY").contains(&"--from=build /usr/local/bin/rstwatch /rstwatch".to_owned()));
}
