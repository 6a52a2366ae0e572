//! BTF that is written by hand, and that of the running kernel.

use super::*;

/// Writes BTF as pahole does.
#[derive(Default)]
struct Writer {
    types: Vec<u8>,
    strings: Vec<u8>,
}

impl Writer {
    fn name(&mut self, name: &str) -> u32 {
        if self.strings.is_empty() {
            self.strings.push(0);
        }
        if name.is_empty() {
            return 0;
        }
        let offset = u32::try_from(self.strings.len()).expect("short");
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
        offset
    }

    fn words(&mut self, words: &[u32]) {
        self.types.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    }

    fn head(&mut self, name: &str, kind: u32, vlen: u32, value: u32) {
        let name = self.name(name);
        self.words(&[name, kind << 24 | vlen, value]);
    }

    fn member(&mut self, name: &str, member_type: u32, bits: u32) {
        let name = self.name(name);
        self.words(&[name, member_type, bits]);
    }

    fn finish(self) -> Vec<u8> {
        let length = |part: &[u8]| u32::try_from(part.len()).expect("short");
        let mut out = Vec::new();
        out.extend(MAGIC.to_ne_bytes());
        out.extend([1, 0]);
        for word in [24, 0, length(&self.types), length(&self.types), length(&self.strings)] {
            out.extend(word.to_ne_bytes());
        }
        out.extend(&self.types);
        out.extend(&self.strings);
        out
    }
}

/// int (1), struct inner {int a; int b;} (2), typedef inner_t (3), union {int u; struct inner in_union;} (4),
/// struct outer {int first; inner_t part; union;} (5), enum (6), func_proto (7), func (8), pointer (9), typedef (10).
fn sample() -> Vec<u8> {
    let mut w = Writer::default();
    w.head("int", kind::INT, 0, 4);
    w.words(&[32]);
    w.head("inner", kind::STRUCT, 2, 8);
    w.member("a", 1, 0);
    w.member("b", 1, 32);
    w.head("inner_t", kind::TYPEDEF, 0, 2);
    w.head("", kind::UNION, 2, 8);
    w.member("u", 1, 0);
    w.member("in_union", 2, 0);
    w.head("outer", kind::STRUCT, 3, 20);
    w.member("first", 1, 0);
    w.member("part", 3, 32);
    w.member("", 4, 96);
    w.head("reasons", kind::ENUM, 2, 4);
    let names = [w.name("REASON_A"), w.name("REASON_B")];
    w.words(&[names[0], 0, names[1], 7]);
    w.head("", kind::FUNC_PROTO, 2, 0);
    w.words(&[0, 1, 0, 1]);
    w.head("do_it", kind::FUNC, 1, 7);
    w.head("", kind::PTR, 0, 7);
    w.head("btf_trace_done", kind::TYPEDEF, 0, 9);
    w.finish()
}

#[test]
fn finds_members_through_typedefs_and_anonymous_parts() {
    let btf = Btf::parse(sample()).expect("well formed");
    let cases = [
        ("outer", "first", Some(0)),
        ("outer", "part", Some(4)),
        ("outer", "part.b", Some(8)),
        ("outer", "u", Some(12)),
        ("outer", "in_union.b", Some(16)),
        ("outer", "absent", None),
        ("outer", "first.a", None),
        ("absent", "a", None),
    ];
    for (structure, path, offset) in cases {
        assert_eq!(btf.offset(structure, path), offset, "{structure}.{path}");
    }
}

#[test]
fn reads_enums_functions_and_tracepoints() {
    let btf = Btf::parse(sample()).expect("well formed");
    assert_eq!(btf.enumerators("reasons"), Some(vec![("REASON_A".into(), 0), ("REASON_B".into(), 7)]));
    assert_eq!(btf.enumerators("absent"), None);
    assert_eq!(btf.function_parameters("do_it"), Some(2));
    assert_eq!(btf.function_parameters("absent"), None);
    assert_eq!(btf.tracepoint_arguments("done"), Some(1));
    assert_eq!(btf.tracepoint_arguments("absent"), None);
}

#[test]
fn damaged_btf_is_an_error() {
    let good = sample();
    assert_eq!(Btf::parse(Vec::new()).err(), Some(BtfError::Truncated(0)));
    assert_eq!(Btf::parse(vec![0; 64]).err(), Some(BtfError::Magic));
    for length in 2..good.len() {
        assert!(Btf::parse(good[..length].to_vec()).is_err(), "cut at {length}");
    }
}

proptest::proptest! {
    /// Any byte may be wrong: the parser neither panics nor loops.
    #[test]
    fn damage_never_panics(at in 0usize..400, value in proptest::num::u8::ANY) {
        let mut bytes = sample();
        let length = bytes.len();
        bytes[at % length] = value;
        if let Ok(btf) = Btf::parse(bytes) {
            let _ = btf.offset("outer", "in_union.b");
            let _ = btf.enumerators("reasons");
            let _ = btf.function_parameters("do_it");
            let _ = btf.tracepoint_arguments("done");
        }
    }
}

/// The running kernel has every field that the programs read.
#[test]
fn finds_every_field_of_the_running_kernel() {
    let Ok(bytes) = std::fs::read(VMLINUX) else {
        eprintln!("skipped: this kernel has no BTF");
        return;
    };
    let btf = Btf::parse(bytes).expect("the kernel's BTF");
    assert_eq!(crate::kernel::layout::missing(&btf), Vec::<String>::new());
    // `struct sock` begins with `__sk_common`, which begins with the addresses.
    assert_eq!(btf.offset("sock_common", "skc_daddr"), Some(0));
    assert_eq!(btf.offset("sock", "__sk_common.skc_daddr"), Some(0));
    assert_eq!(btf.tracepoint_arguments("inet_sock_set_state"), Some(3));
    assert_eq!(btf.function_parameters("tcp_reset"), Some(2));
}

mod seed;
