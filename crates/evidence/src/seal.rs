//! Seals: detached CMS signatures (RFC 5652) of heads, by ECDSA P-256 with SHA-256.
//!
//! Owns the signature's form and its check. Never makes a key: the recorder gives the key and certificates.
//! Signatures are deterministic (RFC 6979), so no randomness is drawn. `openssl cms -verify` reads them.

use cms::{
    cert::{CertificateChoices, IssuerAndSerialNumber},
    content_info::{CmsVersion, ContentInfo},
    signed_data::{
        CertificateSet, EncapsulatedContentInfo, SignedData, SignerIdentifier, SignerInfo, SignerInfos,
    },
};
use der::{
    Any, Decode, Document, Encode, Tag,
    asn1::{ObjectIdentifier, OctetString, OctetStringRef, SetOfVec, UtcTime},
    pem::PemLabel,
};
use p256::{
    ecdsa::{
        DerSignature, Signature as Ecdsa, SigningKey, VerifyingKey,
        signature::{Signer as _, Verifier as _},
    },
    pkcs8::DecodePrivateKey,
};
use time::OffsetDateTime;
use x509_cert::{
    Certificate, attr::Attribute, ext::pkix::BasicConstraints, spki::AlgorithmIdentifierOwned, time::Validity,
};

use crate::hash::Hash;

const ID_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const ID_SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const SIGNING_TIME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.5");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");

/// Why a seal does not hold, or a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The private key is not a P-256 key in PKCS #8 PEM.
    #[error("the recorder's private key is not a P-256 key in PKCS #8 PEM")]
    Key,
    /// The certificate cannot be read, or is not for the key.
    #[error("{0} is not a certificate that can be used here")]
    Certificate(&'static str),
    /// The signature's file is not what a recorder writes.
    #[error("the signature is not well-formed: {0}")]
    Malformed(&'static str),
    /// The signature does not hold over its own attributes: its file was changed.
    #[error("the signature is not valid")]
    Invalid,
    /// The signature holds, over other content.
    #[error("the signature is of other content")]
    OtherContent,
    /// The signer is not certified by the CA.
    #[error("the signer's certificate is not from this CA")]
    Untrusted,
    /// The time of signing is outside the certificate's validity.
    #[error("signed outside the validity of the signer's certificate")]
    Expired,
}

/// The recorder's key and certificate.
pub struct Sealer {
    key: SigningKey,
    certificate: Certificate,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").finish_non_exhaustive()
    }
}

impl Sealer {
    /// Takes a private key (PKCS #8) and its certificate, both PEM.
    pub fn from_pem(key_pem: &str, certificate_pem: &str) -> Result<Self, SealError> {
        let key = SigningKey::from_pkcs8_pem(key_pem).map_err(|_| SealError::Key)?;
        let certificate = read_certificate(certificate_pem)
            .map_err(|_| SealError::Certificate("the recorder's certificate"))?;
        let certified = verifying_key(&certificate)?;
        if certified != *key.verifying_key() {
            return Err(SealError::Certificate("the recorder's certificate"));
        }
        Ok(Self { key, certificate })
    }

    /// The detached signature of `content`, DER.
    pub fn seal(&self, content: &[u8], signed_at: OffsetDateTime) -> Result<Vec<u8>, SealError> {
        self.build(content, signed_at).map_err(|_| SealError::Malformed("it cannot be encoded"))
    }

    fn build(&self, content: &[u8], signed_at: OffsetDateTime) -> der::Result<Vec<u8>> {
        let seconds = u64::try_from(signed_at.unix_timestamp()).unwrap_or(0);
        let time = UtcTime::from_unix_duration(std::time::Duration::from_secs(seconds))?;
        let digest = Hash::sha256(content);
        let attributes = SetOfVec::try_from(vec![
            attribute(CONTENT_TYPE, Any::encode_from(&ID_DATA)?)?,
            attribute(MESSAGE_DIGEST, Any::encode_from(&OctetStringRef::new(digest.as_bytes())?)?)?,
            attribute(SIGNING_TIME, Any::encode_from(&time)?)?,
        ])?;
        // Of the two values of s that hold, always the lower: so there is one signature and no twin of it.
        let signature: Ecdsa = self.key.sign(&attributes.to_der()?);
        let signature = signature.normalize_s().unwrap_or(signature).to_der();
        let tbs = &self.certificate.tbs_certificate;
        let signer = SignerInfo {
            version: CmsVersion::V1,
            sid: SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
                issuer: tbs.issuer.clone(),
                serial_number: tbs.serial_number.clone(),
            }),
            digest_alg: algorithm(SHA256),
            signed_attrs: Some(attributes),
            signature_algorithm: algorithm(ECDSA_WITH_SHA256),
            signature: OctetString::new(signature.as_bytes())?,
            unsigned_attrs: None,
        };
        let signed = SignedData {
            version: CmsVersion::V1,
            digest_algorithms: SetOfVec::try_from(vec![algorithm(SHA256)])?,
            encap_content_info: EncapsulatedContentInfo { econtent_type: ID_DATA, econtent: None },
            certificates: Some(CertificateSet(SetOfVec::try_from(vec![CertificateChoices::Certificate(
                self.certificate.clone(),
            )])?)),
            crls: None,
            signer_infos: SignerInfos(SetOfVec::try_from(vec![signer])?),
        };
        ContentInfo { content_type: ID_SIGNED_DATA, content: Any::encode_from(&signed)? }.to_der()
    }
}

/// Who signed, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The subject of the signer's certificate (RFC 4514).
    pub subject: String,
    /// The time the signer claims.
    pub signed_at: OffsetDateTime,
    /// The signer's certificate, DER.
    pub certificate_der: Vec<u8>,
}

/// A CA whose recorders are trusted.
#[derive(Debug, Clone)]
pub struct Authority {
    certificate: Certificate,
    key: VerifyingKey,
}

impl Authority {
    /// Reads a self-signed CA certificate, PEM.
    pub fn from_pem(pem: &str) -> Result<Self, SealError> {
        const WHAT: SealError = SealError::Certificate("the CA's certificate");
        let certificate = read_certificate(pem).map_err(|_| WHAT)?;
        let key = verifying_key(&certificate).map_err(|_| WHAT)?;
        let authority = Self { certificate, key };
        let tbs = &authority.certificate.tbs_certificate;
        let is_ca = tbs
            .extensions
            .iter()
            .flatten()
            .find(|extension| extension.extn_id == BASIC_CONSTRAINTS)
            .and_then(|extension| BasicConstraints::from_der(extension.extn_value.as_bytes()).ok())
            .is_some_and(|constraints| constraints.ca);
        if !is_ca {
            return Err(WHAT);
        }
        authority.certifies(&authority.certificate).map_err(|_| WHAT)?;
        Ok(authority)
    }

    /// Checks the detached signature `seal` (DER) of `content`. Every byte of the signature is held against
    /// the one form that [`Sealer::seal`] writes, so that no byte can be changed unseen.
    pub fn check(&self, content: &[u8], seal: &[u8]) -> Result<Signature, SealError> {
        let malformed = |_| SealError::Malformed("it is not CMS signed data in DER");
        let info = ContentInfo::from_der(seal).map_err(malformed)?;
        if info.content_type != ID_SIGNED_DATA || info.to_der().map_err(malformed)? != seal {
            return Err(SealError::Malformed("it is not CMS signed data in DER"));
        }
        let data: SignedData = info.content.decode_as().map_err(malformed)?;
        let [signer] = data.signer_infos.0.as_slice() else {
            return Err(SealError::Malformed("it has not one signer"));
        };
        let certificates = data.certificates.as_ref().map_or(&[][..], |set| set.0.as_slice());
        let [CertificateChoices::Certificate(certificate)] = certificates else {
            return Err(SealError::Malformed("it has not one certificate"));
        };
        let tbs = &certificate.tbs_certificate;
        let sid = SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
            issuer: tbs.issuer.clone(),
            serial_number: tbs.serial_number.clone(),
        });
        let as_written = data.version == CmsVersion::V1
            && data.digest_algorithms.as_slice() == [algorithm(SHA256)]
            && data.encap_content_info == EncapsulatedContentInfo { econtent_type: ID_DATA, econtent: None }
            && data.crls.is_none()
            && signer.version == CmsVersion::V1
            && signer.sid == sid
            && signer.digest_alg == algorithm(SHA256)
            && signer.signature_algorithm == algorithm(ECDSA_WITH_SHA256)
            && signer.unsigned_attrs.is_none()
            && Any::encode_from(&data).map_err(malformed)? == info.content;
        if !as_written {
            return Err(SealError::Malformed("it is not in the recorder's form"));
        }

        self.certifies(certificate)?;
        let attributes = signer.signed_attrs.as_ref().ok_or(SealError::Malformed("it has no attributes"))?;
        let signature = Ecdsa::from_der(signer.signature.as_bytes()).map_err(|_| SealError::Invalid)?;
        if signature.normalize_s().is_some() {
            return Err(SealError::Malformed("its s is not the lower one"));
        }
        verifying_key(certificate)?
            .verify(&attributes.to_der().map_err(malformed)?, &signature)
            .map_err(|_| SealError::Invalid)?;

        let digest = value(attributes, MESSAGE_DIGEST)
            .and_then(|any| any.decode_as::<OctetString>().ok())
            .ok_or(SealError::Malformed("it has no digest"))?;
        let is_data = value(attributes, CONTENT_TYPE)
            .and_then(|any| any.decode_as::<ObjectIdentifier>().ok())
            .is_some_and(|content_type| content_type == ID_DATA);
        if !is_data || digest.as_bytes() != Hash::sha256(content).as_bytes() {
            return Err(SealError::OtherContent);
        }
        let signed_at = value(attributes, SIGNING_TIME)
            .filter(|any| der::Tagged::tag(*any) == Tag::UtcTime)
            .and_then(|any| any.decode_as::<UtcTime>().ok())
            .ok_or(SealError::Malformed("it has no time of signing"))?
            .to_unix_duration();
        if !within(&tbs.validity, signed_at) {
            return Err(SealError::Expired);
        }
        Ok(Signature {
            subject: tbs.subject.to_string(),
            signed_at: OffsetDateTime::UNIX_EPOCH + signed_at,
            certificate_der: certificate.to_der().map_err(malformed)?,
        })
    }

    fn certifies(&self, certificate: &Certificate) -> Result<(), SealError> {
        let tbs = &certificate.tbs_certificate;
        if tbs.issuer != self.certificate.tbs_certificate.subject
            || certificate.signature_algorithm != algorithm(ECDSA_WITH_SHA256)
            || tbs.signature != certificate.signature_algorithm
        {
            return Err(SealError::Untrusted);
        }
        let signature =
            certificate.signature.as_bytes().and_then(|bytes| DerSignature::from_bytes(bytes).ok());
        let (Some(signature), Ok(signed)) = (signature, tbs.to_der()) else {
            return Err(SealError::Untrusted);
        };
        self.key.verify(&signed, &signature).map_err(|_| SealError::Untrusted)
    }
}

/// A certificate's DER, from PEM.
pub fn certificate_der(pem: &[u8]) -> Option<Vec<u8>> {
    read_certificate(std::str::from_utf8(pem).ok()?).ok()?.to_der().ok()
}

/// Takes the PEM apart first and reads the DER then: read in one go, `der` 0.7 never comes back from a PEM that ends
/// within a length.
fn read_certificate(pem: &str) -> der::Result<Certificate> {
    let (label, document) = Document::from_pem(pem)?;
    Certificate::validate_pem_label(label)?;
    document.decode_msg()
}

fn within(validity: &Validity, at: std::time::Duration) -> bool {
    (validity.not_before.to_unix_duration()..=validity.not_after.to_unix_duration()).contains(&at)
}

fn verifying_key(certificate: &Certificate) -> Result<VerifyingKey, SealError> {
    const WHAT: SealError = SealError::Certificate("the certificate");
    let spki = &certificate.tbs_certificate.subject_public_key_info;
    let bytes = spki.subject_public_key.as_bytes().ok_or(WHAT)?;
    VerifyingKey::from_sec1_bytes(bytes).map_err(|_| WHAT)
}

fn algorithm(oid: ObjectIdentifier) -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid, parameters: None }
}

fn attribute(oid: ObjectIdentifier, value: Any) -> der::Result<Attribute> {
    Ok(Attribute { oid, values: SetOfVec::try_from(vec![value])? })
}

fn value(attributes: &SetOfVec<Attribute>, oid: ObjectIdentifier) -> Option<&Any> {
    match attributes.iter().find(|attribute| attribute.oid == oid)?.values.as_slice() {
        [value] => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Keys {
        ca_pem: String,
        sealer: Sealer,
    }

    fn keys() -> Keys {
        let ca_key = rcgen::KeyPair::generate().expect("key");
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "Test CA");
        let ca = params.self_signed(&ca_key).expect("certificate");
        let key = rcgen::KeyPair::generate().expect("key");
        let mut leaf = rcgen::CertificateParams::default();
        leaf.distinguished_name.push(rcgen::DnType::CommonName, "Test recorder");
        let certificate =
            leaf.signed_by(&key, &rcgen::Issuer::from_params(&params, &ca_key)).expect("certificate");
        Keys {
            ca_pem: ca.pem(),
            sealer: Sealer::from_pem(&key.serialize_pem(), &certificate.pem()).expect("own key"),
        }
    }

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_790_000_000).expect("a time")
    }

    #[test]
    fn a_seal_holds_over_its_content_alone() {
        let keys = keys();
        let authority = Authority::from_pem(&keys.ca_pem).expect("CA");
        let seal = keys.sealer.seal(b"12 abc\n", now()).expect("sealed");
        let signature = authority.check(b"12 abc\n", &seal).expect("holds");
        assert_eq!(signature.subject, "CN=Test recorder");
        assert_eq!(signature.signed_at, now());
        assert_eq!(authority.check(b"13 abc\n", &seal), Err(SealError::OtherContent));
    }

    #[test]
    fn another_ca_does_not_vouch_for_it() {
        let (ours, theirs) = (keys(), keys());
        let authority = Authority::from_pem(&ours.ca_pem).expect("CA");
        let seal = theirs.sealer.seal(b"x", now()).expect("sealed");
        assert_eq!(authority.check(b"x", &seal), Err(SealError::Untrusted));
    }

    #[test]
    fn no_byte_of_a_seal_can_be_changed() {
        let keys = keys();
        let authority = Authority::from_pem(&keys.ca_pem).expect("CA");
        let seal = keys.sealer.seal(b"x", now()).expect("sealed");
        for at in 0..seal.len() {
            let mut changed = seal.clone();
            changed[at] ^= 1 << (at % 8);
            assert!(authority.check(b"x", &changed).is_err(), "byte {at} of {}", seal.len());
        }
        assert!(authority.check(b"x", &seal[..seal.len() - 1]).is_err());
        assert!(authority.check(b"x", &[seal, vec![0]].concat()).is_err());
    }

    #[test]
    fn a_signature_has_no_twin() {
        let keys = keys();
        let authority = Authority::from_pem(&keys.ca_pem).expect("CA");
        for content in 0..16_u8 {
            let seal = keys.sealer.seal(&[content], now()).expect("sealed");
            assert!(authority.check(&[content], &seal).is_ok());
            let info = ContentInfo::from_der(&seal).expect("CMS");
            let mut data: SignedData = info.content.decode_as().expect("signed data");
            let mut signer = data.signer_infos.0.as_slice()[0].clone();
            let signature = Ecdsa::from_der(signer.signature.as_bytes()).expect("a signature");
            let twin = Ecdsa::from_scalars(signature.r(), -signature.s()).expect("a signature");
            let holds = keys
                .sealer
                .key
                .verifying_key()
                .verify(&signer.signed_attrs.as_ref().expect("attributes").to_der().expect("DER"), &twin);
            assert!(holds.is_ok(), "for ECDSA both hold");
            signer.signature = OctetString::new(twin.to_der().as_bytes()).expect("short");
            data.signer_infos = SignerInfos(SetOfVec::try_from(vec![signer]).expect("one"));
            let content_info =
                ContentInfo { content_type: ID_SIGNED_DATA, content: Any::encode_from(&data).expect("DER") };
            assert!(authority.check(&[content], &content_info.to_der().expect("DER")).is_err());
        }
    }

    #[test]
    fn a_certificate_cut_short_is_refused_wherever_it_ends() {
        let der = certificate_der(keys().ca_pem.as_bytes()).expect("a certificate");
        for length in 0..der.len() {
            let pem = der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, &der[..length]);
            assert!(certificate_der(pem.expect("PEM").as_bytes()).is_none(), "{length}");
        }
    }

    #[test]
    fn a_recorder_is_no_ca() {
        let keys = keys();
        let leaf = der::EncodePem::to_pem(&keys.sealer.certificate, der::pem::LineEnding::LF).expect("PEM");
        assert!(Authority::from_pem(&leaf).is_err());
    }
}
