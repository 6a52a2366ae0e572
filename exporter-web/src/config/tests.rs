use std::fs;
use std::path::Path;

use rcgen::{KeyPair, SanType};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tempfile::TempDir;

use super::alternative_names::alternative_names;
use super::load::load;
use super::*;
use crate::testing::{Authority, bcrypt_hash, dns};

/// A folder with server.crt, server.key, other.key and ca.crt.
fn folder() -> TempDir {
    let (folder, authority) = (tempfile::tempdir().expect("folder"), Authority::new("test"));
    let (cert, key) = authority.sign(vec![dns("localhost")]);
    let other = KeyPair::generate().expect("key").serialize_pem();
    for (name, text) in [("server.crt", &cert), ("server.key", &key), ("other.key", &other), ("ca.crt", &authority.pem)]
    {
        fs::write(folder.path().join(name), text).expect("written");
    }
    fs::write(folder.path().join("empty.pem"), "nothing").expect("written");
    folder
}

fn loaded(folder: &Path, text: &str) -> Result<LoadedConfig, String> {
    let path = folder.join("web.yml");
    fs::write(&path, text).expect("written");
    load(&path).map_err(|error| error.to_string().replace(&format!("{}/", folder.display()), ""))
}

const TLS: &str = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";

#[test]
fn configurations_of_the_toolkit_are_accepted() {
    let folder = folder();
    let users = format!(
        "basic_auth_users:\n  alice: {}\n  bob: {}\n",
        bcrypt_hash("a"),
        bcrypt_hash("b").replace("$2b$", "$2y$")
    );
    // Text; whether it has TLS, how many headers, whether it has users and a rate limit.
    let cases = [
        ("", false, 0, false, false),
        ("# nothing\n", false, 0, false, false),
        ("tls_server_config:\n", false, 0, false, false),
        ("tls_server_config: {}\nbasic_auth_users: {}\n", false, 0, false, false),
        (TLS, true, 0, false, false),
        (&format!("{TLS}  client_auth_type: NoClientCert\n"), true, 0, false, false),
        (&format!("{TLS}  client_auth_type: RequestClientCert\n"), true, 0, false, false),
        (
            &format!("{TLS}  client_auth_type: RequireAnyClientCert\n  client_allowed_sans: [a, b]\n"),
            true,
            0,
            false,
            false,
        ),
        (&format!("{TLS}  client_auth_type: RequireClientCert\n"), true, 0, false, false),
        (
            &format!("{TLS}  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.crt\n"),
            true,
            0,
            false,
            false,
        ),
        (
            &format!("{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n"),
            true,
            0,
            false,
            false,
        ),
        (&format!("{TLS}  min_version: TLS12\n  max_version: TLS13\n"), true, 0, false, false),
        (
            &format!("{TLS}  min_version: TLS13\n  curve_preferences: [CurveP256, CurveP384, X25519]\n"),
            true,
            0,
            false,
            false,
        ),
        (
            &format!(
                "{TLS}  max_version: TLS12\n  cipher_suites:\n  - TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384\n  prefer_server_cipher_suites: false\nhttp_server_config:\n  http2: false\n"
            ),
            true,
            0,
            false,
            false,
        ),
        (
            "http_server_config:\n  http2: true\n  headers:\n    X-Frame-Options: deny\n    Strict-Transport-Security: max-age=31536000; includeSubDomains\n    X-Content-Type-Options: nosniff\n    X-XSS-Protection: 1\n    Content-Security-Policy: \"default-src 'self' *.test.example.net\"\n",
            false,
            5,
            false,
            false,
        ),
        (&users, false, 0, true, false),
        (&format!("{TLS}{users}"), true, 0, true, false),
        ("rate_limit:\n  interval: 0\n  burst: 0\n", false, 0, false, false),
        ("rate_limit:\n  interval: \"1s\"\n  burst: 20\n", false, 0, false, true),
        ("rate_limit: { interval: 1m30s, burst: 1 }\n", false, 0, false, true),
    ];
    for (text, tls, headers, users, rate) in cases {
        let loaded = loaded(folder.path(), text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let found = (loaded.tls.is_some(), loaded.headers.len(), !loaded.users.is_empty(), loaded.rate_limit.is_some());
        assert_eq!(found, (tls, headers, users, rate), "{text}");
    }
}

#[test]
fn errors_are_one_line_with_file_and_line() {
    let folder = folder();
    let pair = |more: &str| format!("{TLS}  {more}\n");
    let cases: &[(String, &str)] = &[
        (
            "tls_server_config:\n  cert_filse: x\n".into(),
            "web.yml:2: unknown key \"cert_filse\": expected one of cert, key, client_ca, cert_file, key_file, client_auth_type, client_ca_file, client_allowed_sans, min_version, max_version, cipher_suites, prefer_server_cipher_suites, curve_preferences",
        ),
        (
            "\n\nusers: {}\n".into(),
            "web.yml:3: unknown key \"users\": expected one of tls_server_config, http_server_config, rate_limit, basic_auth_users",
        ),
        (pair("cert_file: server.crt"), "web.yml:4: duplicate key cert_file"),
        ("junk\n".into(), "web.yml:1: "),
        ("a: [\n".into(), "web.yml:"),
        (
            "tls_server_config:\n  cert_file: server.crt\n".into(),
            "web.yml: tls_server_config: missing one of key or key_file",
        ),
        (
            "tls_server_config:\n  key_file: server.key\n".into(),
            "web.yml: tls_server_config: missing one of cert or cert_file",
        ),
        (
            "tls_server_config:\n  cert_file: ''\n  key_file: server.key\n".into(),
            "web.yml: tls_server_config: missing one of cert or cert_file",
        ),
        (
            "tls_server_config:\n  min_version: TLS13\n".into(),
            "web.yml: tls_server_config: missing one of cert or cert_file",
        ),
        (
            "tls_server_config:\n  cert_file: none.crt\n  key_file: server.key\n".into(),
            "web.yml:2: failed to read cert_file (none.crt): No such file or directory (os error 2)",
        ),
        (
            "tls_server_config:\n  cert_file: /dev/zero\n  key_file: server.key\n".into(),
            "web.yml:2: failed to read cert_file (/dev/zero): not a regular file",
        ),
        (
            "tls_server_config:\n  cert_file: empty.pem\n  key_file: server.key\n".into(),
            "web.yml:2: cert_file (empty.pem) contains no certificate",
        ),
        (
            "tls_server_config:\n  cert_file: server.crt\n  key_file: ca.crt\n".into(),
            "web.yml:3: key_file (ca.crt) contains no unencrypted private key in PEM",
        ),
        (
            "tls_server_config:\n  cert_file: server.crt\n  key_file: other.key\n".into(),
            "web.yml:2: cert_file (server.crt) and key_file (other.key) do not match: ",
        ),
        (pair("key: x"), "web.yml:3: both key and key_file are set: remove one"),
        (pair("client_auth_type: x"), "web.yml:4: invalid client_auth_type: \"x\""),
        (
            pair("client_ca_file: ca.crt"),
            "web.yml: client CA's have been configured without a Client Auth Policy: set client_auth_type",
        ),
        (
            pair("client_auth_type: RequireAndVerifyClientCert"),
            "web.yml: client_auth_type verifies certificates, but there is no client_ca or client_ca_file",
        ),
        (
            pair("client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: empty.pem"),
            "web.yml:5: client_ca_file (empty.pem) contains no certificate",
        ),
        (
            pair("client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.crt\n  client_allowed_sans: [a]"),
            "web.yml: client_allowed_sans requires client_auth_type to be one of RequireAnyClientCert or RequireAndVerifyClientCert",
        ),
        (pair("min_version: TLS111"), "web.yml:4: unknown TLS version: \"TLS111\""),
        (pair("min_version: TLS10"), "web.yml:4: TLS10 is not supported: use TLS12 or TLS13"),
        (pair("max_version: TLS11"), "web.yml:4: TLS11 is not supported: use TLS12 or TLS13"),
        (
            pair("min_version: TLS13\n  max_version: TLS12"),
            "web.yml: tls_server_config: min_version is above max_version",
        ),
        (
            pair("cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA2048]"),
            "web.yml:4: unknown cipher: \"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA2048\"",
        ),
        (
            pair("cipher_suites:\n  - TLS_AES_128_GCM_SHA256\n  - TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"),
            "web.yml:6: cipher TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA is not supported: use one with GCM or CHACHA20_POLY1305",
        ),
        (
            pair("max_version: TLS12\n  cipher_suites: [TLS_AES_128_GCM_SHA256]"),
            "web.yml: tls_server_config: TLS versions and cipher suites do not match: ",
        ),
        (pair("curve_preferences: [CurveP257]"), "web.yml:4: unknown curve: \"CurveP257\""),
        (
            pair("curve_preferences: [CurveP521]"),
            "web.yml:4: curve CurveP521 is not supported: use X25519, CurveP256 or CurveP384",
        ),
        (
            "http_server_config:\n  headers:\n    Content-Type: foo\n".into(),
            "web.yml:3: HTTP header \"Content-Type\" can not be configured",
        ),
        (
            "http_server_config:\n  headers:\n    X-Frame-Options: foo\n".into(),
            "web.yml:3: invalid value for X-Frame-Options: expected one of deny, sameorigin, but got \"foo\"",
        ),
        (
            "http_server_config:\n  headers:\n    X-Content-Type-Options: sniff\n".into(),
            "web.yml:3: invalid value for X-Content-Type-Options: expected one of nosniff, but got \"sniff\"",
        ),
        (
            "http_server_config:\n  headers:\n    X-XSS-Protection: \"a\\nb\"\n".into(),
            "web.yml:3: invalid value for X-XSS-Protection: \"a\\nb\"",
        ),
        (
            "basic_auth_users:\n  john: doe\n".into(),
            "web.yml:2: the password of \"john\" is not a bcrypt hash: create one with htpasswd -nBC 10",
        ),
        (
            format!("basic_auth_users:\n  \"j\\e\\n\": {}\n", bcrypt_hash("x").replace("$04$", "$31$")),
            "web.yml:2: the bcrypt hash of \"j\\u{1b}\\n\" has cost 31: use a cost from 4 to 16, such as 10",
        ),
        (format!("basic_auth_users:\n  a: {0}\n  a: {0}\n", bcrypt_hash("x")), "web.yml:3: duplicate key a"),
        (
            "rate_limit:\n  interval: soon\n".into(),
            "web.yml:2: invalid interval \"soon\": use a duration such as 1s or 100ms",
        ),
        ("rate_limit:\n  interval: 1s\n".into(), "web.yml:2: burst below 1 rejects every request: set it to 1 or more"),
        (
            "rate_limit:\n  interval: 1s\n  burst: -1\n".into(),
            "web.yml:3: burst below 1 rejects every request: set it to 1 or more",
        ),
        (
            "a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\n".into(),
            "web.yml:1: unknown key \"a\": ",
        ),
    ];
    for (text, expected) in cases {
        let error = loaded(folder.path(), text).err().unwrap_or_else(|| panic!("accepted: {text}"));
        // An expected text that ends with a colon is followed by the words of a library.
        let is_whole = expected.ends_with(|c: char| c != ' ' && c != ':');
        assert!(if is_whole { error == *expected } else { error.starts_with(expected) }, "{error}\nnot {expected}");
        assert!(!error.contains('\n') && !error.contains("PRIVATE"), "{error}");
    }
    let missing = load(&folder.path().join("none.yml")).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(missing.ends_with("none.yml: No such file or directory (os error 2)"), "{missing}");
    fs::write(folder.path().join("large.yml"), vec![b'#'; 2 << 20]).expect("written");
    let large = load(&folder.path().join("large.yml")).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(large.ends_with("large.yml: larger than 1048576 bytes"), "{large}");
}

#[test]
fn certificates_and_keys_may_be_inline() {
    let folder = folder();
    let read = |name| fs::read_to_string(folder.path().join(name)).expect("read");
    let indented = |name| read(name).replace('\n', "\n    ");
    let text = format!(
        "tls_server_config:\n  cert: |\n    {}\n  key: |\n    {}\n  client_auth_type: RequireAndVerifyClientCert\n  client_ca: |\n    {}\n",
        indented("server.crt"),
        indented("server.key"),
        indented("ca.crt")
    );
    assert!(loaded(folder.path(), &text).expect("valid").tls.is_some());
}

#[test]
fn alternative_names_are_read() {
    let authority = Authority::new("test");
    let names = vec![
        dns("scraper.example"),
        SanType::Rfc822Name("ops@example.com".try_into().expect("name")),
        SanType::IpAddress([10, 0, 0, 1].into()),
        SanType::IpAddress("2001:db8::1".parse().expect("address")),
        SanType::URI("spiffe://cluster/ns/prometheus".try_into().expect("name")),
    ];
    let (pem, _) = authority.sign(names);
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
    let expected = ["scraper.example", "ops@example.com", "10.0.0.1", "2001:db8::1", "spiffe://cluster/ns/prometheus"];
    assert_eq!(alternative_names(&der), expected);
    // A damaged certificate does no harm.
    for end in 0..der.len() {
        alternative_names(&der[..end]);
        let mut damaged = der.to_vec();
        damaged[end] ^= 0x83;
        alternative_names(&damaged);
    }
}
