//! The alternative names of a certificate (RFC 5280, 4.2.1.6), from its DER: just enough to compare them.

use std::net::IpAddr;

/// Tag of the extensions.
const EXTENSIONS: u8 = 0xa3;
const SEQUENCE: u8 = 0x30;
const OBJECT_ID: u8 = 0x06;
const OCTETS: u8 = 0x04;
/// id-ce-subjectAltName, 2.5.29.17
const SUBJECT_ALT_NAME: [u8; 3] = [0x55, 0x1d, 0x11];

/// DNS names, e-mail addresses, IP addresses and URIs, written as Go does; empty if the certificate cannot be parsed.
pub(super) fn alternative_names(certificate: &[u8]) -> Vec<String> {
    find(certificate).unwrap_or_default()
}

fn find(certificate: &[u8]) -> Option<Vec<String>> {
    let certificate = Elements(inside(certificate, SEQUENCE)?);
    let tbs = certificate.clone().next().filter(|(tag, _)| *tag == SEQUENCE)?.1;
    let extensions = Elements(tbs).find(|(tag, _)| *tag == EXTENSIONS)?.1;
    let names =
        Elements(inside(extensions, SEQUENCE)?).filter(|(tag, _)| *tag == SEQUENCE).find_map(|(_, extension)| {
            let mut parts = Elements(extension);
            let is_names = parts.next()? == (OBJECT_ID, &SUBJECT_ALT_NAME);
            // Whether it is critical may stand between.
            is_names.then(|| parts.find(|(tag, _)| *tag == OCTETS))?.map(|(_, value)| value)
        })?;
    Some(Elements(inside(names, SEQUENCE)?).filter_map(|(tag, value)| name(tag, value)).collect())
}

fn name(tag: u8, value: &[u8]) -> Option<String> {
    match tag {
        // rfc822Name, dNSName, uniformResourceIdentifier
        0x81 | 0x82 | 0x86 => str::from_utf8(value).ok().map(str::to_owned),
        // iPAddress
        0x87 => {
            let v4 = <[u8; 4]>::try_from(value).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from)).ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}

/// What is in the one element.
fn inside(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    Elements(bytes).next().filter(|(found, _)| *found == tag).map(|(_, inside)| inside)
}

/// Tags and contents, one after the other. Ends at what is no DER.
#[derive(Clone)]
struct Elements<'a>(&'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[tag, first], rest) = self.0.split_first_chunk::<2>()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x83 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }
}
