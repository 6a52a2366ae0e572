//! `tls_server_config` for rustls.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, SupportedKxGroup, ring};
use rustls::{ProtocolVersion, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion, version};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_saphyr::Spanned;

use super::clients::{self, Policy};
use super::file::{Tls, at, set};
use super::{Fault, Files};

/// What is asked of clients, and how.
pub(super) fn server(tls: &Tls, folder: &Path, files: &mut Files) -> Result<Arc<ServerConfig>, Fault> {
    let cert = material(["cert", "cert_file"], [&tls.cert, &tls.cert_file], folder, files)?;
    let Some(cert) = cert else { return Err(Fault::new("tls_server_config: missing one of cert or cert_file")) };
    let key = material(["key", "key_file"], [&tls.key, &tls.key_file], folder, files)?;
    let Some(key) = key else { return Err(Fault::new("tls_server_config: missing one of key or key_file")) };
    let authorities = material(["client_ca", "client_ca_file"], [&tls.client_ca, &tls.client_ca_file], folder, files)?;

    let (versions, suites) = (versions(tls)?, suites(tls)?);
    let is_ordered = tls.cipher_suites.is_some() && tls.prefer_server_cipher_suites.unwrap_or(true);
    let provider =
        Arc::new(CryptoProvider { cipher_suites: suites, kx_groups: groups(tls)?, ..ring::default_provider() });
    let clients = clients::verifier(policy(tls)?, authorities, tls.client_allowed_sans.as_deref(), &provider)?;
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|error| Fault::new(format!("tls_server_config: versions and cipher suites do not fit: {error}")))?;
    let builder = match clients {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut server = builder.with_single_cert(certificates(&cert)?, private_key(&key)?).map_err(|error| Fault {
        line: cert.line,
        what: format!("{} and {} do not fit: {error}", cert.name, key.name),
    })?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    server.ignore_client_order = is_ordered;
    Ok(Arc::new(server))
}

/// PEM, and where it came from.
pub(super) struct Material {
    pub(super) name: String,
    line: Option<u64>,
    pem: Vec<u8>,
}

/// The text itself or what is in the file.
fn material(
    [inline, file]: [&str; 2],
    [text, path]: [&Option<Spanned<String>>; 2],
    folder: &Path,
    files: &mut Files,
) -> Result<Option<Material>, Fault> {
    match (set(text), set(path)) {
        (None, None) => Ok(None),
        (Some(_), Some(path)) => Err(at(path, format!("both {inline} and {file} are there: leave one out"))),
        (Some(text), None) => {
            let (line, pem) = (Some(text.referenced.line()), text.value.clone().into_bytes());
            Ok(Some(Material { name: inline.to_owned(), line, pem }))
        }
        (None, Some(path)) => {
            let name = format!("{file} ({})", path.value);
            match files.read(&folder.join(&path.value)) {
                Ok(pem) => Ok(Some(Material { name, line: Some(path.referenced.line()), pem })),
                Err(error) => Err(at(path, format!("failed to read {name}: {error}"))),
            }
        }
    }
}

/// At least one.
pub(super) fn certificates(material: &Material) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let Material { name, line, pem } = material;
    let fault = |what| Fault { line: *line, what };
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| fault(format!("{name} is no PEM: {error}")))?;
    if found.is_empty() { Err(fault(format!("{name} holds no certificate"))) } else { Ok(found) }
}

fn private_key(Material { name, line, pem }: &Material) -> Result<PrivateKeyDer<'static>, Fault> {
    let key = PrivateKeyDer::from_pem_slice(pem);
    // What is wrong with it in detail might show some of it.
    key.map_err(|_| Fault { line: *line, what: format!("{name} holds no private key in PEM, or an encrypted one") })
}

fn policy(tls: &Tls) -> Result<Policy, Fault> {
    let Some(word) = set(&tls.client_auth_type) else { return Ok(Policy::None) };
    Ok(match word.value.as_str() {
        "NoClientCert" => Policy::None,
        "RequestClientCert" => Policy::Request,
        "RequireAnyClientCert" | "RequireClientCert" => Policy::RequireAny,
        "VerifyClientCertIfGiven" => Policy::VerifyIfGiven,
        "RequireAndVerifyClientCert" => Policy::RequireAndVerify,
        other => return Err(at(word, format!("invalid client_auth_type: {other:?}"))),
    })
}

/// From the oldest to the newest.
fn versions(tls: &Tls) -> Result<Vec<&'static SupportedProtocolVersion>, Fault> {
    let least = version(&tls.min_version)?.unwrap_or(ProtocolVersion::TLSv1_2);
    let most = version(&tls.max_version)?.unwrap_or(ProtocolVersion::TLSv1_3);
    let number = |version: ProtocolVersion| u16::from(version);
    let both = [&version::TLS12, &version::TLS13];
    let wanted = |it: &&&SupportedProtocolVersion| (number(least)..=number(most)).contains(&number(it.version));
    let versions: Vec<_> = both.iter().filter(wanted).copied().collect();
    if versions.is_empty() {
        return Err(Fault::new("tls_server_config: min_version is above max_version"));
    }
    Ok(versions)
}

fn version(text: &Option<Spanned<String>>) -> Result<Option<ProtocolVersion>, Fault> {
    let Some(word) = set(text) else { return Ok(None) };
    match word.value.as_str() {
        "TLS12" => Ok(Some(ProtocolVersion::TLSv1_2)),
        "TLS13" => Ok(Some(ProtocolVersion::TLSv1_3)),
        old @ ("TLS10" | "TLS11") => Err(at(word, format!("{old} is not spoken any more: use TLS12 or TLS13"))),
        other => Err(at(word, format!("unknown TLS version: {other:?}"))),
    }
}

/// Those of Go's `crypto/tls` that are not deprecated, but that we do not have.
const MISSING: [&str; 4] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
];

fn suite(name: &str) -> Option<SupportedCipherSuite> {
    use ring::cipher_suite as ours;
    Some(match name {
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" => ours::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" => ours::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256" => ours::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" => ours::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384" => ours::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256" => ours::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        "TLS_AES_128_GCM_SHA256" => ours::TLS13_AES_128_GCM_SHA256,
        "TLS_AES_256_GCM_SHA384" => ours::TLS13_AES_256_GCM_SHA384,
        "TLS_CHACHA20_POLY1305_SHA256" => ours::TLS13_CHACHA20_POLY1305_SHA256,
        _ => return None,
    })
}

/// As in Go the list is for TLS 1.2 alone: TLS 1.3 always has all of its suites.
fn suites(tls: &Tls) -> Result<Vec<SupportedCipherSuite>, Fault> {
    let Some(names) = tls.cipher_suites.as_ref().filter(|names| !names.is_empty()) else {
        return Ok(ring::DEFAULT_CIPHER_SUITES.to_vec());
    };
    let is_13 = |suite: &SupportedCipherSuite| suite.tls13().is_some();
    let mut suites: Vec<_> = ring::DEFAULT_CIPHER_SUITES.iter().copied().filter(is_13).collect();
    for name in names {
        match suite(&name.value) {
            Some(suite) if !suites.contains(&suite) => suites.push(suite),
            Some(_) => {}
            None if MISSING.contains(&name.value.as_str()) => {
                return Err(at(
                    name,
                    format!("cipher {} is not supported: use one with GCM or CHACHA20_POLY1305", name.value),
                ));
            }
            None => return Err(at(name, format!("unknown cipher: {:?}", name.value))),
        }
    }
    Ok(suites)
}

fn groups(tls: &Tls) -> Result<Vec<&'static dyn SupportedKxGroup>, Fault> {
    let Some(names) = tls.curve_preferences.as_ref().filter(|names| !names.is_empty()) else {
        return Ok(ring::DEFAULT_KX_GROUPS.to_vec());
    };
    let group = |name: &Spanned<String>| match name.value.as_str() {
        "X25519" => Ok(ring::kx_group::X25519),
        "CurveP256" => Ok(ring::kx_group::SECP256R1),
        "CurveP384" => Ok(ring::kx_group::SECP384R1),
        "CurveP521" => Err(at(name, "curve CurveP521 is not supported: use X25519, CurveP256 or CurveP384")),
        other => Err(at(name, format!("unknown curve: {other:?}"))),
    };
    names.iter().map(group).collect()
}
