//! Cipher suites and curves by the names of Go's `crypto/tls`.

use rustls::SupportedCipherSuite;
use rustls::crypto::{SupportedKxGroup, ring};
use serde_saphyr::Spanned;

use super::error::Invalid;
use super::schema::TlsSection;

/// Suites that Go supports and does not deprecate, but that rustls does not have.
const MISSING: [&str; 4] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
];

/// The suites of `cipher_suites`; all by default. As in Go the list is for TLS 1.2: TLS 1.3 always has all of its suites.
pub(super) fn cipher_suites(section: &TlsSection) -> Result<Vec<SupportedCipherSuite>, Invalid> {
    let Some(names) = section.cipher_suites.as_ref().filter(|names| !names.is_empty()) else {
        return Ok(ring::DEFAULT_CIPHER_SUITES.to_vec());
    };
    let is_tls13 = |suite: &SupportedCipherSuite| suite.tls13().is_some();
    let mut suites: Vec<_> = ring::DEFAULT_CIPHER_SUITES.iter().copied().filter(is_tls13).collect();
    for name in names {
        let suite = suite(name)?;
        if !suites.contains(&suite) {
            suites.push(suite);
        }
    }
    Ok(suites)
}

fn suite(name: &Spanned<String>) -> Result<SupportedCipherSuite, Invalid> {
    use ring::cipher_suite as supported;
    Ok(match name.value.as_str() {
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" => supported::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" => supported::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256" => supported::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" => supported::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384" => supported::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256" => supported::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        "TLS_AES_128_GCM_SHA256" => supported::TLS13_AES_128_GCM_SHA256,
        "TLS_AES_256_GCM_SHA384" => supported::TLS13_AES_256_GCM_SHA384,
        "TLS_CHACHA20_POLY1305_SHA256" => supported::TLS13_CHACHA20_POLY1305_SHA256,
        missing if MISSING.contains(&missing) => {
            let message = format!("cipher {missing} is not supported: use one with GCM or CHACHA20_POLY1305");
            return Err(Invalid::at(name, message));
        }
        unknown => return Err(Invalid::at(name, format!("unknown cipher: {unknown:?}"))),
    })
}

/// The groups of `curve_preferences`; all by default.
pub(super) fn key_exchange_groups(section: &TlsSection) -> Result<Vec<&'static dyn SupportedKxGroup>, Invalid> {
    let Some(names) = section.curve_preferences.as_ref().filter(|names| !names.is_empty()) else {
        return Ok(ring::DEFAULT_KX_GROUPS.to_vec());
    };
    names.iter().map(group).collect()
}

fn group(name: &Spanned<String>) -> Result<&'static dyn SupportedKxGroup, Invalid> {
    match name.value.as_str() {
        "X25519" => Ok(ring::kx_group::X25519),
        "CurveP256" => Ok(ring::kx_group::SECP256R1),
        "CurveP384" => Ok(ring::kx_group::SECP384R1),
        "CurveP521" => Err(Invalid::at(name, "curve CurveP521 is not supported: use X25519, CurveP256 or CurveP384")),
        other => Err(Invalid::at(name, format!("unknown curve: {other:?}"))),
    }
}
