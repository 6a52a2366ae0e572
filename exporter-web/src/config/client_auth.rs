//! `client_auth_type`: whether clients need a certificate, and which certificates are accepted.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::alternative_names::alternative_names;
use super::error::Invalid;
use super::pem::Pem;
use super::schema::{Text, set};

/// `client_auth_type`, with the words of Go's `crypto/tls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientAuth {
    /// `NoClientCert`
    Off,
    /// `RequestClientCert`: any certificate, or none.
    Request,
    /// `RequireAnyClientCert`: a certificate with any signature.
    RequireAny,
    /// `VerifyClientCertIfGiven`: a certificate signed by a trusted authority, or none.
    VerifyIfGiven,
    /// `RequireAndVerifyClientCert`: a certificate signed by a trusted authority.
    RequireAndVerify,
}

impl ClientAuth {
    /// Reads the key's word.
    pub(super) fn parse(text: &Text) -> Result<Self, Invalid> {
        let Some(word) = set(text) else { return Ok(Self::Off) };
        Ok(match word.value.as_str() {
            "NoClientCert" => Self::Off,
            "RequestClientCert" => Self::Request,
            "RequireAnyClientCert" | "RequireClientCert" => Self::RequireAny,
            "VerifyClientCertIfGiven" => Self::VerifyIfGiven,
            "RequireAndVerifyClientCert" => Self::RequireAndVerify,
            other => return Err(Invalid::at(word, format!("invalid client_auth_type: {other:?}"))),
        })
    }
}

/// The verifier of clients' certificates; none: no certificate is requested.
pub(super) fn verifier(
    auth: ClientAuth,
    authorities: Option<Pem>,
    allowed_names: Option<&[String]>,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, Invalid> {
    use ClientAuth::{Off, Request, RequireAndVerify, RequireAny, VerifyIfGiven};
    if authorities.is_some() && auth == Off {
        return Err(Invalid::new(
            "client CA's have been configured without a Client Auth Policy: set client_auth_type",
        ));
    }
    if allowed_names.is_some() && ![RequireAny, RequireAndVerify].contains(&auth) {
        return Err(Invalid::new(
            "client_allowed_sans requires client_auth_type to be one of RequireAnyClientCert or RequireAndVerifyClientCert",
        ));
    }
    let trusted = match (auth, authorities) {
        (Off, _) => return Ok(None),
        (VerifyIfGiven | RequireAndVerify, None) => {
            return Err(Invalid::new(
                "client_auth_type verifies certificates, but there is no client_ca or client_ca_file",
            ));
        }
        (VerifyIfGiven | RequireAndVerify, Some(pem)) => Some(signed_by(&pem, auth == VerifyIfGiven, provider)?),
        // Not used, but an invalid file is reported all the same.
        (Request | RequireAny, Some(pem)) => pem.certificates().map(|_| None)?,
        (Request | RequireAny, None) => None,
    };
    let verifier = ClientVerifier {
        trusted,
        mandatory: [RequireAny, RequireAndVerify].contains(&auth),
        allowed_names: allowed_names.map(<[String]>::to_vec),
        provider: Arc::clone(provider),
    };
    Ok(Some(Arc::new(verifier)))
}

/// Accepts certificates that these authorities signed.
fn signed_by(
    authorities: &Pem,
    optional: bool,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Invalid> {
    let mut roots = RootCertStore::empty();
    for certificate in authorities.certificates()? {
        roots.add(certificate).map_err(|error| Invalid::new(format!("{}: {error}", authorities.name)))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = if optional { builder.allow_unauthenticated() } else { builder };
    builder.build().map_err(|error| Invalid::new(format!("{}: {error}", authorities.name)))
}

/// Checks a certificate's signature and its alternative names, each where it is configured.
#[derive(Debug)]
struct ClientVerifier {
    /// None: any signature is accepted.
    trusted: Option<Arc<dyn ClientCertVerifier>>,
    mandatory: bool,
    /// `client_allowed_sans`: at least one of the certificate's names must be among these.
    allowed_names: Option<Vec<String>>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.trusted.as_ref().map_or(&[], |trusted| trusted.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(trusted) = &self.trusted {
            trusted.verify_client_cert(end_entity, intermediates, now)?;
        }
        let Some(allowed) = &self.allowed_names else { return Ok(ClientCertVerified::assertion()) };
        if alternative_names(end_entity).iter().any(|name| allowed.contains(name)) {
            return Ok(ClientCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
