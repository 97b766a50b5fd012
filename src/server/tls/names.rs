//! The names that a certificate is known by.

use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Most names of a certificate that are looked at.
const MAX_NAMES: usize = 32;

/// What is read of a certificate whose signature was found to be good.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// `subject:CN=agent,O=Example` (RFC 4514), `san:dns:…`, `san:uri:…` and `san:email:…`.
    pub(super) names: Vec<String>,
    /// The last second in which it is good, since 1970. Never, if it could not be read.
    pub(super) not_after: u64,
}

/// Reads a certificate in DER. One that cannot be read has no names and is not good.
pub(super) fn of(certificate: &[u8]) -> Read {
    let Ok(certificate) = Certificate::from_der(certificate) else { return Read::default() };
    let certificate = certificate.tbs_certificate();
    let mut names = Vec::new();
    let subject = certificate.subject().to_string();
    if !subject.is_empty() {
        names.push(format!("subject:{subject}"));
    }
    if let Ok(Some((_critical, alternative))) = certificate.get_extension::<SubjectAltName>() {
        names.extend(alternative.0.iter().filter_map(name));
    }
    names.truncate(MAX_NAMES);
    Read { names, not_after: certificate.validity().not_after.to_unix_duration().as_secs() }
}

fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => {
            Some(format!("san:dns:{}", name.as_str().to_ascii_lowercase()))
        }
        GeneralName::UniformResourceIdentifier(name) => Some(format!("san:uri:{name}")),
        GeneralName::Rfc822Name(name) => Some(format!("san:email:{name}")),
        GeneralName::OtherName(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EdiPartyName(_)
        | GeneralName::IpAddress(_)
        | GeneralName::RegisteredId(_) => None,
    }
}
