use super::*;

fn parse(text: &str) -> Result<Config, (usize, String)> {
    file::parse(text).map_err(|Fault { at, what }| (line_number(text, at), what))
}

#[test]
fn omitted_keys_have_their_defaults() {
    assert_eq!(parse(""), Ok(Config::default()));
    let config = parse("node_name = \"node-b\"\nworkload_limit = 5\n# comment\nring_buffer_bytes = 65536\n");
    let expected =
        Config { node_name: Some("node-b".into()), workload_limit: 5, ring_buffer_bytes: 65_536, ..Config::default() };
    assert_eq!(config, Ok(expected));
}

#[test]
fn errors_name_the_line() {
    let cases = [
        ("workload_limit = 0", 1, "workload_limit is 0: give 1 to 100000"),
        ("\n\nworkload_limit = 100001", 3, "workload_limit is 100001: give 1 to 100000"),
        ("detail_burst = -1", 1, "detail_burst is -1: give 1 to 1000000"),
        ("detail_rate_per_second = 0", 1, "detail_rate_per_second is 0: give 1 to 1000000"),
        ("ring_buffer_bytes = 70000", 1, "ring_buffer_bytes is 70000: give a power of two, such as 131072"),
        ("connection_limit = 50000", 1, "connection_limit is 50000: give a power of two, such as 65536"),
        ("connection_limit = 2048", 1, "connection_limit is 2048: give 4096 to 4194304"),
        ("ring_buffer_bytes = 2147483648", 1, "ring_buffer_bytes is 2147483648: give 65536 to 1073741824"),
        ("\nnode_name = \"\"", 2, "node_name is empty: give a name, or leave it out for the host name"),
        ("node_name = \"a\\u001b[31m\"", 1, "node_name is not printable"),
        ("node_name = 7", 1, "invalid type: integer `7`, expected a string"),
        ("\nworkload_limits = 7", 2, "unknown field `workload_limits`, expected one of"),
        ("workload_limit 7", 1, ""),
        ("\n[[timeout]]\nwho = \"a\"\nseconds = -1", 2, "timeout \"a\": seconds is -1: give 0 to 31536000"),
        (
            "[[timeout]]\nwho = \"a\\u001b\"\nseconds = 1",
            1,
            "timeout \"a\\u{1b}\": who must have 1 to 80 printable bytes",
        ),
        (
            "[[timeout]]\nwho = \"a\"\nseconds = 1\n[[timeout]]\nwho = \"b\"\nseconds = 1\nplace = \"x\"",
            4,
            "timeout \"b\": place is \"x\": give end or device",
        ),
        ("[[timeout]]\nwho = \"a\"", 1, "missing field `seconds`"),
        ("[[timeout]]\nwho = \"a\"\nseconds = 1\nwhen = 3", 4, "unknown field `when`"),
        ("workload_limit = 7\nworkload_limit = 8", 2, "duplicate key"),
        ("[kubernetes]\nenable = true", 2, "unknown field `enable`"),
        ("[kubernetes]\nenabled = 1", 2, "kubernetes.enabled must be true, false or \"auto\""),
        ("[kubernetes]\n\nnode_name = \"a,b\"", 3, "kubernetes.node_name is not a valid node name: give 1 to 253 of"),
        ("[kubernetes]\nremote_limit = 0", 2, "kubernetes.remote_limit is 0: give 1 to 1000000"),
        ("[kubernetes]\nremote = \"yes\"", 2, "invalid type: string \"yes\", expected a boolean"),
        ("[kubernetes]\nkubeconfig = \"k\"", 2, "kubernetes.kubeconfig is not an absolute path"),
    ];
    for (text, line, what) in cases {
        let (found_line, message) = parse(text).expect_err("refused");
        assert_eq!(found_line, line, "{text}: {message}");
        assert!(message.starts_with(what) && message.lines().count() == 1, "{text}: {message}");
    }
}

#[test]
fn only_a_small_regular_text_file_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), fifo, rustix::fs::Mode::RUSR, 0).expect("made");
    std::fs::write(path("large"), vec![b'#'; 2 << 20]).expect("written");
    std::fs::write(path("bytes"), [0xff]).expect("written");
    for (name, expected) in
        [("fifo", "not a regular file"), ("large", "larger than 1048576 bytes"), ("bytes", "not text in UTF-8")]
    {
        let error = format!("{:#}", Config::read(&path(name)).expect_err("refused"));
        assert!(error.ends_with(expected), "{error}");
    }
}

#[test]
fn the_help_fits_on_100_columns() {
    let too_long: Vec<_> = HELP.lines().filter(|line| line.len() > 100).collect();
    assert!(too_long.is_empty(), "{too_long:#?}");
}

#[test]
fn the_help_lists_every_key_with_its_default() {
    let keys: String = HELP
        .lines()
        .filter(|line| line.starts_with("  ") && !line.contains("\"...\""))
        .map(|line| {
            let (key, rest) = line.trim().split_once(" = ").expect("key");
            format!("{key} = {}\n", rest.split(' ').next().expect("value"))
        })
        .collect();
    assert_eq!(keys.lines().count(), 8);
    assert_eq!(parse(&keys), Ok(Config::default()));
}

#[test]
fn the_packaged_file_documents_the_defaults() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/debian/config.toml");
    let file = std::fs::read_to_string(file).expect("the package's configuration");
    assert_eq!(parse(&file), Ok(Config::default()), "every key is commented out");
    // The tables below are examples, not defaults.
    let top = file.lines().take_while(|line| !line.starts_with("#["));
    let documented =
        top.filter_map(|line| line.strip_prefix('#')).filter(|line| !line.starts_with(' ') && !line.is_empty());
    let documented: Vec<_> = documented.filter(|line| !line.contains("\"...\"")).collect();
    assert_eq!(documented.len(), 8, "{documented:?}");
    assert_eq!(parse(&documented.join("\n")), Ok(Config::default()));
}
