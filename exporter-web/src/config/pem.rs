//! Certificates and keys in PEM, from the configuration itself or from a file that it names.

use std::path::Path;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::error::Invalid;
use super::schema::{Text, set};
use super::source::SourceFiles;

/// Some PEM, and the key of the configuration that it belongs to.
pub(super) struct Pem {
    /// Name of the key, with the file if there is one.
    pub(super) name: String,
    /// Line of the key.
    pub(super) line: Option<u64>,
    bytes: Vec<u8>,
}

impl Pem {
    /// Reads the text of one key or the file that another names; none: neither is set.
    pub(super) fn read(
        [inline, file]: [&str; 2],
        [text, path]: [&Text; 2],
        folder: &Path,
        files: &mut SourceFiles,
    ) -> Result<Option<Self>, Invalid> {
        match (set(text), set(path)) {
            (None, None) => Ok(None),
            (Some(_), Some(path)) => Err(Invalid::at(path, format!("both {inline} and {file} are set: remove one"))),
            (Some(text), None) => {
                let (line, bytes) = (Some(text.referenced.line()), text.value.clone().into_bytes());
                Ok(Some(Self { name: inline.to_owned(), line, bytes }))
            }
            (None, Some(path)) => {
                let name = format!("{file} ({})", path.value);
                match files.read(&folder.join(&path.value)) {
                    Ok(bytes) => Ok(Some(Self { name, line: Some(path.referenced.line()), bytes })),
                    Err(error) => Err(Invalid::at(path, format!("failed to read {name}: {error}"))),
                }
            }
        }
    }

    /// The certificates; at least one.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, Invalid> {
        let name = &self.name;
        let certificates = CertificateDer::pem_slice_iter(&self.bytes).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.map_err(|error| self.invalid(format!("{name} is not valid PEM: {error}")))?;
        if certificates.is_empty() {
            Err(self.invalid(format!("{name} contains no certificate")))
        } else {
            Ok(certificates)
        }
    }

    /// The private key.
    pub(super) fn private_key(&self) -> Result<PrivateKeyDer<'static>, Invalid> {
        let key = PrivateKeyDer::from_pem_slice(&self.bytes);
        // Without the parser's words, which may quote some of the key.
        key.map_err(|_| self.invalid(format!("{} contains no unencrypted private key in PEM", self.name)))
    }

    /// An error at this key.
    pub(super) fn invalid(&self, message: String) -> Invalid {
        Invalid { line: self.line, message }
    }
}
