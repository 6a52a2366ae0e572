//! Clients' certificates: which are asked for, and which are believed.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::Fault;
use super::names;
use super::tls::{Material, certificates};

/// `client_auth_type`, with Go's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// `NoClientCert`
    None,
    /// `RequestClientCert`: any, and none too.
    Request,
    /// `RequireAnyClientCert`: one, whoever signed it.
    RequireAny,
    /// `VerifyClientCertIfGiven`: a good one, or none.
    VerifyIfGiven,
    /// `RequireAndVerifyClientCert`: a good one.
    RequireAndVerify,
}

/// Judges clients; none: they are not asked.
pub(super) fn verifier(
    policy: Policy,
    authorities: Option<Material>,
    sans: Option<&[String]>,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, Fault> {
    use Policy::{None as Off, RequireAndVerify, RequireAny, VerifyIfGiven};
    if authorities.is_some() && policy == Off {
        return Err(Fault::new("client CA's have been configured without a Client Auth Policy: set client_auth_type"));
    }
    if sans.is_some() && ![RequireAny, RequireAndVerify].contains(&policy) {
        return Err(Fault::new(
            "client_allowed_sans requires client_auth_type to be one of RequireAnyClientCert or RequireAndVerifyClientCert",
        ));
    }
    let trusted = match (policy, authorities) {
        (Off, _) => return Ok(None),
        (VerifyIfGiven | RequireAndVerify, None) => {
            return Err(Fault::new(
                "client_auth_type verifies certificates, but there is no client_ca or client_ca_file",
            ));
        }
        (VerifyIfGiven | RequireAndVerify, Some(material)) => {
            Some(signed_by(&material, policy == VerifyIfGiven, provider)?)
        }
        // Read all the same: what is wrong with it is said.
        (_, Some(material)) => certificates(&material).map(|_| None)?,
        (_, None) => None,
    };
    let verifier = Verifier {
        trusted,
        mandatory: [RequireAny, RequireAndVerify].contains(&policy),
        sans: sans.map(<[String]>::to_vec),
        provider: Arc::clone(provider),
    };
    Ok(Some(Arc::new(verifier)))
}

fn signed_by(
    material: &Material,
    or_none: bool,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Fault> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(material)? {
        roots.add(certificate).map_err(|error| Fault::new(format!("{}: {error}", material.name)))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = if or_none { builder.allow_unauthenticated() } else { builder };
    builder.build().map_err(|error| Fault::new(format!("{}: {error}", material.name)))
}

/// Judges a certificate by who signed it, if that is asked, and by its names.
#[derive(Debug)]
struct Verifier {
    /// None: anybody.
    trusted: Option<Arc<dyn ClientCertVerifier>>,
    mandatory: bool,
    /// One of its names must be among these.
    sans: Option<Vec<String>>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Verifier {
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
        let Some(allowed) = &self.sans else { return Ok(ClientCertVerified::assertion()) };
        if names::alternative(end_entity).iter().any(|name| allowed.contains(name)) {
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
