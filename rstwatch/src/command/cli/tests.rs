use clap::CommandFactory;
use expect_test::expect;

use super::*;

fn agent(args: &[&str]) -> anyhow::Result<AgentSettings> {
    match Cli::try_parse_from(["rstwatch", "agent"].iter().chain(args))?.command {
        Command::Agent(args) => args.settings(),
        other => anyhow::bail!("{other:?}"),
    }
}

fn trace(args: &[&str]) -> anyhow::Result<TraceSettings> {
    match Cli::try_parse_from(["rstwatch", "trace"].iter().chain(args))?.command {
        Command::Trace(args) => args.settings(),
        other => anyhow::bail!("{other:?}"),
    }
}

#[test]
fn clap_accepts_the_declaration() {
    Cli::command().debug_assert();
}

#[test]
fn the_agent_listens_on_loopback_by_default() {
    let settings = agent(&[]).expect("settings");
    assert_eq!(settings.listen.iter().map(ToString::to_string).collect::<Vec<_>>(), ["127.0.0.1:9877"]);
    assert_eq!((settings.telemetry_path.as_str(), settings.workload_limit), ("/metrics", 1_000));
    assert_eq!(settings.node, host_name());
    assert_eq!((&settings.web_config, settings.max_requests), (&None, 40));
    let settings = agent(&["--web.listen-address=:9877", "--web.listen-address", "[::1]:0"]).expect("settings");
    assert_eq!(settings.listen.iter().map(ToString::to_string).collect::<Vec<_>>(), [":9877", "[::1]:0"]);
    let settings = agent(&["--web.config.file=/etc/web.yml", "--web.max-requests=0"]).expect("settings");
    assert_eq!((settings.web_config, settings.max_requests), (Some("/etc/web.yml".into()), 0));
}

#[test]
fn the_command_line_overrides_the_file() {
    let file = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(file.path(), "node_name = \"from-file\"\nworkload_limit = 7\nring_buffer_bytes = 65536\n")
        .expect("written");
    let path = file.path().to_str().expect("UTF-8");
    let settings = agent(&["--config", path]).expect("settings");
    assert_eq!(
        (&*settings.node, settings.workload_limit, settings.capture.ring_buffer_bytes),
        ("from-file", 7, 65_536)
    );
    assert_eq!(&*agent(&["--config", path, "--node-name", "mine"]).expect("settings").node, "mine");
}

/// The check allocates what the agent would.
#[test]
fn check_reads_the_agents_configuration() {
    let check = |args: &[&str]| match Cli::try_parse_from(["rstwatch", "check"].iter().chain(args))?.command {
        Command::Check(args) => args.settings(),
        other => anyhow::bail!("{other:?}"),
    };
    let default = Config::default();
    let settings = check(&[]).expect("settings");
    assert_eq!(
        (settings.connection_limit, settings.ring_buffer_bytes),
        (default.connection_limit, default.ring_buffer_bytes)
    );
    let file = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(file.path(), "connection_limit = 8192\nring_buffer_bytes = 65536\n").expect("written");
    let settings = check(&["--config", file.path().to_str().expect("UTF-8")]).expect("settings");
    assert_eq!((settings.connection_limit, settings.ring_buffer_bytes), (8192, 65_536));
    assert!(check(&["--config", "/nonexistent"]).is_err());
}

#[test]
fn trace_options_become_settings() {
    let args = ["--json", "--duration", "1m30s", "--count=3", "--cause", "refused", "--cause", "unknown"];
    let more = [
        "--direction",
        "sent",
        "--peer",
        "10.0.0.0/8",
        "--port",
        "443",
        "--netns",
        "/run/netns/a",
        "--netns",
        "/run/netns/b",
        "--cgroup",
        "/sys/fs/cgroup/x",
        "--node-name",
        "n",
    ];
    let settings = trace(&[&args[..], &more[..]].concat()).expect("settings");
    assert!(settings.json);
    assert_eq!((settings.duration, settings.count), (Some(Duration::from_secs(90)), Some(3)));
    let filter = Filter {
        causes: vec![Cause::Refused, Cause::Unknown],
        direction: Some(Direction::Sent),
        peer: network("10.0.0.0/8").ok(),
        port: Some(443),
    };
    assert_eq!(settings.filter, filter);
    assert_eq!(settings.capture.netns, [PathBuf::from("/run/netns/a"), PathBuf::from("/run/netns/b")]);
    assert_eq!((settings.capture.cgroup, &*settings.node), (Some(PathBuf::from("/sys/fs/cgroup/x")), "n"));
}

#[test]
fn usage_errors_are_one_line() {
    let mut lines = String::new();
    let cases: [&[&str]; 12] = [
        &["trace", "--frobnicate"],
        &["trace", "--cause", "tired"],
        &["trace", "--duration", "soon"],
        &["trace", "--duration", "0s"],
        &["trace", "--count", "0"],
        &["trace", "--peer", "db"],
        &["trace", "--port", "0"],
        &["explain", "idle_reapd"],
        &["agent", "--web.listen-address", "9877"],
        &["agent", "--web.telemetry-path", "/healthz"],
        &["agent", "--node-name", ""],
        &["watch"],
    ];
    for args in cases {
        let error = Cli::try_parse_from(["rstwatch"].iter().chain(args)).expect_err("refused");
        lines += &(one_line(&error) + "\n");
        assert_eq!(error.exit_code(), 2);
    }
    expect![[r#"
        rstwatch: unexpected argument '--frobnicate' found: see rstwatch --help
        rstwatch: invalid value 'tired' for '--cause <CAUSE>'; [possible values: refused, idle_reaped, middlebox_idle, middlebox_injected, process_died, listener_closed, unread_data, data_after_close, linger_abort, admin_abort, firewall_reject, listen_overflow, conntrack_full, nat_untranslated, keepalive_timeout, no_such_connection, peer_abort, probe, resource_limit, invalid_handshake, mptcp, unknown, unsampled]: see rstwatch --help
        rstwatch: invalid value 'soon' for '--duration <TIME>': not a duration such as 60s or 5m: see rstwatch --help
        rstwatch: invalid value '0s' for '--duration <TIME>': not a duration such as 60s or 5m: see rstwatch --help
        rstwatch: invalid value '0' for '--count <N>': 0 is not in 1..18446744073709551615: see rstwatch --help
        rstwatch: invalid value 'db' for '--peer <CIDR>': not an address or network such as 10.0.0.0/8: see rstwatch --help
        rstwatch: invalid value '0' for '--port <N>': 0 is not in 1..=65535: see rstwatch --help
        rstwatch: invalid value 'idle_reapd' for '[CAUSE]'; [possible values: refused, idle_reaped, middlebox_idle, middlebox_injected, process_died, listener_closed, unread_data, data_after_close, linger_abort, admin_abort, firewall_reject, listen_overflow, conntrack_full, nat_untranslated, keepalive_timeout, no_such_connection, peer_abort, probe, resource_limit, invalid_handshake, mptcp, unknown, unsampled]; tip: a similar value exists: 'idle_reaped': see rstwatch --help
        rstwatch: invalid value '9877' for '--web.listen-address <ADDRESS>': not an address: use HOST:PORT, [IPV6]:PORT or :PORT: see rstwatch --help
        rstwatch: invalid value '/healthz' for '--web.telemetry-path <PATH>': reserved for another page: choose another path: see rstwatch --help
        rstwatch: invalid value '' for '--node-name <NAME>': empty: give a name, or leave it out for the host name: see rstwatch --help
        rstwatch: unrecognized subcommand 'watch': see rstwatch --help
    "#]].assert_eq(&lines);
}
