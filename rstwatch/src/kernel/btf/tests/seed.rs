//! The smallest BTF that has everything the daemon reads. It is generated from the list of fields, so it follows that list.
//! It is a seed of the fuzz target `btf`.

use std::collections::BTreeMap;

use rstwatch_common::layout::Layout;

use super::{Btf, Writer, kind};

/// The members of a structure, with their own members.
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

/// Writes types and numbers them.
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

    /// Members first: the structure refers to them by number.
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

/// A type cycle: every member of a structure is unnamed and of the structure's own type.
fn type_cycle() -> Vec<u8> {
    let mut types = Types::default();
    let members = 300;
    let itself = types.head("sock", kind::STRUCT, members, 8);
    for _ in 0..members {
        types.writer.member("", itself, 0);
    }
    types.writer.finish()
}

/// Enumerators that share one long name.
fn long_name() -> Vec<u8> {
    let mut types = Types::default();
    let name = types.writer.name(&"A".repeat(4000));
    types.head("sk_rst_reason", kind::ENUM, 500, 4);
    for value in 0..500 {
        types.writer.words(&[name, value]);
    }
    types.writer.finish()
}

/// The kernel's names are short. A longer one is damage, and is not copied.
#[test]
fn skips_names_that_are_too_long() {
    let btf = Btf::parse(long_name()).expect("well formed");
    assert_eq!(btf.enumerators("sk_rst_reason"), None);
}

#[test]
fn the_search_of_a_type_cycle_ends() {
    let btf = Btf::parse(type_cycle()).expect("well formed");
    assert_eq!(btf.offset("sock", "sk_protocol"), None);
}

#[test]
fn the_seed_has_every_field() {
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
fn the_seeds_are_up_to_date() {
    let seeds =
        [("fields", seed()), ("shapes", super::sample()), ("type_cycle", type_cycle()), ("long_name", long_name())];
    let names = seeds.each_ref().map(|(name, _)| *name);
    let seeds = seeds.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
    rstwatch_verdict::testing::seeds::are_kept("btf", |name| names.contains(&name), &seeds);
}
