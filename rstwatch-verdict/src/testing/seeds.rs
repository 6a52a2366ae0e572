//! Compares the committed fuzz seeds (fuzz/seeds) with those that tests generate.
//!
//! `UPDATE_EXPECT=1 cargo test -p rstwatch -p rstwatch-verdict --lib seeds` rewrites them; see CONTRIBUTING.md.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Checks that a target's committed seeds whose names are `ours` equal `seeds`. Others, like a fuzzer's findings, are ignored.
pub fn are_kept(target: &str, ours: impl Fn(&str) -> bool, seeds: &BTreeMap<String, Vec<u8>>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    let names = fs::read_dir(&folder).expect("the folder of seeds").map(|entry| {
        let name = entry.expect("an entry").file_name();
        name.into_string().expect("UTF-8")
    });
    let kept: Vec<_> = names.filter(|name| ours(name)).collect();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        kept.iter().for_each(|name| fs::remove_file(folder.join(name)).expect("an old seed"));
        seeds.iter().for_each(|(name, bytes)| fs::write(folder.join(name), bytes).expect("a seed"));
        return;
    }
    let kept: BTreeMap<_, _> =
        kept.into_iter().map(|name| (name.clone(), fs::read(folder.join(name)).expect("a seed"))).collect();
    let names = |seeds: &BTreeMap<String, Vec<u8>>| seeds.keys().cloned().collect::<Vec<_>>();
    let stale: Vec<_> =
        seeds.iter().filter(|(name, bytes)| kept.get(*name) != Some(*bytes)).map(|(name, _)| name).collect();
    assert!(
        names(&kept) == names(seeds) && stale.is_empty(),
        "fuzz/seeds/{target} is old ({stale:?}): UPDATE_EXPECT=1 cargo test -p rstwatch -p rstwatch-verdict --lib seeds"
    );
}
