//! The recorder's key and certificate and the CA over it: made at first start, kept in one folder.
//!
//! Owns four files, all readable by their owner alone: `ca.key.pem`, `ca.pem`, `recorder.key.pem`,
//! `recorder.pem`. The CA's key is needed only to certify another recorder and may be taken off line.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use hewei_evidence::seal::{SealError, Sealer};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

/// How long the certificates hold: a package must be checked decades later.
const VALIDITY: Duration = Duration::days(30 * 365);

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A key or certificate cannot be made.
    #[error("a key or certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
    /// The key and certificate in the folder cannot be used.
    #[error("{folder}: {source}")]
    Unusable {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: SealError,
    },
}

/// Who signs recordings.
#[derive(Debug)]
pub struct Identity {
    sealer: Sealer,
    ca_pem: String,
    recorder_pem: String,
}

impl Identity {
    /// Loads the identity in `folder`, or makes one there. `now` is when new certificates begin to hold.
    pub fn load_or_create(folder: &Path, now: OffsetDateTime) -> Result<Self, IdentityError> {
        let paths =
            ["ca.key.pem", "ca.pem", "recorder.key.pem", "recorder.pem"].map(|name| folder.join(name));
        let [ca_key_path, ca_path, key_path, certificate_path] = &paths;
        if !ca_path.exists() && !key_path.exists() && !certificate_path.exists() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(|source| IdentityError::File { path: folder.to_owned(), source })?;
            let made = make(now)?;
            for (path, text) in paths.iter().zip([&made.ca_key, &made.ca, &made.key, &made.certificate]) {
                write_private(path, text)?;
            }
            File::open(folder)
                .and_then(|folder| folder.sync_all())
                .map_err(|source| IdentityError::File { path: folder.to_owned(), source })?;
            tracing::info!(folder = %folder.display(), key = %ca_key_path.display(), "made the recorder's key and CA");
        }
        let read = |path: &Path| {
            fs::read_to_string(path).map_err(|source| IdentityError::File { path: path.to_owned(), source })
        };
        let (ca_pem, recorder_pem) = (read(ca_path)?, read(certificate_path)?);
        let sealer = Sealer::from_pem(&read(key_path)?, &recorder_pem)
            .map_err(|source| IdentityError::Unusable { folder: folder.to_owned(), source })?;
        Ok(Self { sealer, ca_pem, recorder_pem })
    }

    /// The CA's certificate, PEM: what a verifier is given from outside the package.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The recorder's certificate, PEM.
    pub fn recorder_pem(&self) -> &str {
        &self.recorder_pem
    }

    pub(crate) fn sealer(&self) -> &Sealer {
        &self.sealer
    }
}

struct Made {
    ca_key: String,
    ca: String,
    key: String,
    certificate: String,
}

fn make(now: OffsetDateTime) -> Result<Made, rcgen::Error> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::default();
    // A clock that is set back a little must not make the certificate be of the future.
    ca.not_before = now - Duration::days(1);
    ca.not_after = now + VALIDITY;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.distinguished_name.push(DnType::OrganizationName, "Hewei");
    ca.distinguished_name.push(DnType::CommonName, format!("Hewei recording CA {}", now.date()));
    let ca_certificate = ca.self_signed(&ca_key)?;

    let key = KeyPair::generate()?;
    let mut recorder = CertificateParams::default();
    recorder.not_before = ca.not_before;
    recorder.not_after = ca.not_after;
    recorder.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    recorder.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection];
    recorder.use_authority_key_identifier_extension = true;
    recorder.distinguished_name.push(DnType::OrganizationName, "Hewei");
    recorder.distinguished_name.push(DnType::CommonName, format!("Hewei recorder {}", now.date()));
    let certificate = recorder.signed_by(&key, &Issuer::from_params(&ca, &ca_key))?;
    Ok(Made {
        ca_key: ca_key.serialize_pem(),
        ca: ca_certificate.pem(),
        key: key.serialize_pem(),
        certificate: certificate.pem(),
    })
}

fn write_private(path: &Path, text: &str) -> Result<(), IdentityError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .map_err(|source| IdentityError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_identity_is_made_once_and_is_private() {
        let folder = tempfile::tempdir().expect("folder");
        let keys = folder.path().join("keys");
        let now = OffsetDateTime::from_unix_timestamp(1_790_000_000).expect("a time");
        let made = Identity::load_or_create(&keys, now).expect("made");
        let loaded = Identity::load_or_create(&keys, now).expect("loaded");
        assert_eq!(made.recorder_pem(), loaded.recorder_pem());
        for entry in fs::read_dir(&keys).expect("listed") {
            let mode = entry.expect("entry").metadata().expect("metadata").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        fs::remove_file(keys.join("recorder.key.pem")).expect("removed");
        assert!(Identity::load_or_create(&keys, now).is_err(), "half an identity is not made anew");
    }
}
