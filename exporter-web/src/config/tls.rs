//! Converts `tls_server_config` to a rustls server configuration.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::{ProtocolVersion, ServerConfig, SupportedProtocolVersion, version};

use super::cipher_suites::{cipher_suites, key_exchange_groups};
use super::client_auth::{self, ClientAuth};
use super::error::Invalid;
use super::pem::Pem;
use super::schema::{Text, TlsSection, set};
use super::source::SourceFiles;

/// Builds the TLS server configuration. Certificates, keys and CAs are read through `files`; relative paths are resolved
/// against `folder`.
pub(super) fn server(
    section: &TlsSection,
    folder: &Path,
    files: &mut SourceFiles,
) -> Result<Arc<ServerConfig>, Invalid> {
    let mut pem = |names, values| Pem::read(names, values, folder, files);
    let Some(cert) = pem(["cert", "cert_file"], [&section.cert, &section.cert_file])? else {
        return Err(Invalid::new("tls_server_config: missing one of cert or cert_file"));
    };
    let Some(key) = pem(["key", "key_file"], [&section.key, &section.key_file])? else {
        return Err(Invalid::new("tls_server_config: missing one of key or key_file"));
    };
    let authorities = pem(["client_ca", "client_ca_file"], [&section.client_ca, &section.client_ca_file])?;

    let versions = versions(section)?;
    let provider = Arc::new(CryptoProvider {
        cipher_suites: cipher_suites(section)?,
        kx_groups: key_exchange_groups(section)?,
        ..ring::default_provider()
    });
    let auth = ClientAuth::parse(&section.client_auth_type)?;
    let client_verifier = client_auth::verifier(auth, authorities, section.client_allowed_sans.as_deref(), &provider)?;
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&versions).map_err(|error| {
        Invalid::new(format!("tls_server_config: TLS versions and cipher suites do not match: {error}"))
    })?;
    let builder = match client_verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let server = builder.with_single_cert(cert.certificates()?, key.private_key()?);
    let mut server =
        server.map_err(|error| cert.invalid(format!("{} and {} do not match: {error}", cert.name, key.name)))?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    server.ignore_client_order = section.cipher_suites.is_some() && section.prefer_server_cipher_suites.unwrap_or(true);
    Ok(Arc::new(server))
}

/// The supported TLS versions from `min_version` to `max_version`.
fn versions(section: &TlsSection) -> Result<Vec<&'static SupportedProtocolVersion>, Invalid> {
    let min = version(&section.min_version)?.unwrap_or(ProtocolVersion::TLSv1_2);
    let max = version(&section.max_version)?.unwrap_or(ProtocolVersion::TLSv1_3);
    let range = u16::from(min)..=u16::from(max);
    let supported = [&version::TLS12, &version::TLS13];
    let versions: Vec<_> = supported.into_iter().filter(|it| range.contains(&u16::from(it.version))).collect();
    if versions.is_empty() {
        return Err(Invalid::new("tls_server_config: min_version is above max_version"));
    }
    Ok(versions)
}

/// Parses a TLS version; `None` if it is not set.
fn version(text: &Text) -> Result<Option<ProtocolVersion>, Invalid> {
    let Some(word) = set(text) else { return Ok(None) };
    match word.value.as_str() {
        "TLS12" => Ok(Some(ProtocolVersion::TLSv1_2)),
        "TLS13" => Ok(Some(ProtocolVersion::TLSv1_3)),
        old @ ("TLS10" | "TLS11") => Err(Invalid::at(word, format!("{old} is not supported: use TLS12 or TLS13"))),
        other => Err(Invalid::at(word, format!("unknown TLS version: {other:?}"))),
    }
}
