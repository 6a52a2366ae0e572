//! The smallest BTF in which the daemon finds everything that it asks for: made of the list of fields, so that it
//! follows the list. It is the seed of the fuzz target `btf`.

use std::collections::BTreeMap;

use rstwatch_common::layout::Layout;

use super::{Btf, Writer, kind};

/// What stands below a structure: its members, with what stands below them.
#[derive(Default)]
struct Tree(BTreeMap<&'static str, Tree>);

impl Tree {
    fn insert(&mut self, path: &'static str) {
        let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
        let below = self.0.entry(first).or_default();
        if let Some(rest) = rest {
            below.insert(rest);
        }
    }
}

/// Writes types, and numbers them.
#[derive(Default)]
struct Types {
    writer: Writer,
    last: u32,
}

impl Types {
    fn head(&mut self, name: &str, of_kind: u32, vlen: usize, value: u32) -> u32 {
        self.writer.head(name, of_kind, u32::try_from(vlen).expect("few"), value);
        self.last += 1;
        self.last
    }

    /// Members first, for what refers needs their numbers.
    fn structure(&mut self, name: &str, tree: &Tree, leaf: u32) -> u32 {
        let members: Vec<_> = tree
            .0
            .iter()
            .map(|(name, below)| (*name, if below.0.is_empty() { leaf } else { self.structure("", below, leaf) }))
            .collect();
        let number = self.head(name, kind::STRUCT, members.len(), 8);
        for (index, (name, of_type)) in (0u32..).zip(members) {
            self.writer.member(name, of_type, index * 64);
        }
        number
    }

    fn function(&mut self, name: &str, parameters: usize) {
        let prototype = self.head("", kind::FUNC_PROTO, parameters, 0);
        self.writer.words(&vec![0; parameters * 2]);
        self.head(name, kind::FUNC, 1, prototype);
    }

    fn tracepoint(&mut self, name: &str, arguments: usize) {
        let prototype = self.head("", kind::FUNC_PROTO, arguments + 1, 0);
        self.writer.words(&vec![0; (arguments + 1) * 2]);
        let pointer = self.head("", kind::PTR, 0, prototype);
        self.head(&format!("btf_trace_{name}"), kind::TYPEDEF, 0, pointer);
    }
}

fn seed() -> Vec<u8> {
    let mut types = Types::default();
    let int = types.head("int", kind::INT, 0, 4);
    types.writer.words(&[32]);
    let mut structures: BTreeMap<_, Tree> = BTreeMap::new();
    for source in Layout::SOURCES {
        structures.entry(source.structure).or_default().insert(source.path);
    }
    for (name, tree) in &structures {
        types.structure(name, tree, int);
    }
    let reasons = rstwatch_verdict::testing::fixture::REASONS;
    types.head("sk_rst_reason", kind::ENUM, reasons.len(), 4);
    for (name, value) in reasons {
        let name = types.writer.name(name);
        types.writer.words(&[name, *value]);
    }
    types.function("tcp_reset", 2);
    types.tracepoint("tcp_send_reset", 3);
    types.tracepoint("inet_sock_set_state", 3);
    types.writer.finish()
}

/// A structure whose members are all itself, without a name: to be looked through layer by layer, each as wide.
fn hall_of_mirrors() -> Vec<u8> {
    let mut types = Types::default();
    let mirrors = 300;
    let itself = types.head("sock", kind::STRUCT, mirrors, 8);
    for _ in 0..mirrors {
        types.writer.member("", itself, 0);
    }
    types.writer.finish()
}

/// Enumerators that share one long name.
fn shouting() -> Vec<u8> {
    let mut types = Types::default();
    let loud = types.writer.name(&"A".repeat(4000));
    types.head("sk_rst_reason", kind::ENUM, 500, 4);
    for value in 0..500 {
        types.writer.words(&[loud, value]);
    }
    types.writer.finish()
}

/// Names of the kernel's are short; what is longer is damage, and not copied.
#[test]
fn long_names_are_no_names() {
    let btf = Btf::parse(shouting()).expect("well formed");
    assert_eq!(btf.enumerators("sk_rst_reason"), None);
}

#[test]
fn a_hall_of_mirrors_has_an_end() {
    let btf = Btf::parse(hall_of_mirrors()).expect("well formed");
    assert_eq!(btf.offset("sock", "sk_protocol"), None);
}

#[test]
fn the_seed_has_everything() {
    let btf = Btf::parse(seed()).expect("well formed");
    assert_eq!(crate::kernel::layout::missing(&btf), Vec::<String>::new());
    assert_eq!(
        btf.enumerators("sk_rst_reason").map(|names| names.len()),
        Some(rstwatch_verdict::testing::fixture::REASONS.len())
    );
    assert_eq!(btf.function_parameters("tcp_reset"), Some(2));
    assert_eq!(btf.tracepoint_arguments("inet_sock_set_state"), Some(3));
}

#[test]
fn seeds_are_of_todays_fields() {
    let seeds =
        [("fields", seed()), ("shapes", super::sample()), ("mirrors", hall_of_mirrors()), ("shouting", shouting())];
    let names = seeds.each_ref().map(|(name, _)| *name);
    let seeds = seeds.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
    rstwatch_verdict::testing::seeds::are_kept("btf", |name| names.contains(&name), &seeds);
}
