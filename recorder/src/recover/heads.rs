//! The signed heads of an interrupted package. They say how many lines there were at least.

use std::io;

use hewei_evidence::{
    bag,
    hash::Hash,
    journal::Head,
    seal::{Authority, certificate_der},
};

use super::Survey;
use crate::{Identity, RecorderError};

/// A head whose signature holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signed {
    pub(super) head: Head,
    /// SHA-256 of its file.
    pub(super) file_hash: Hash,
}

/// The heads, in order. The last one may have been interrupted and is then not among them; any other that does not
/// hold is an error.
pub(super) fn read(survey: &Survey, identity: &Identity) -> Result<Vec<Signed>, RecorderError> {
    let authority = Authority::from_pem(identity.ca_pem())?;
    let certificate = certificate_der(identity.recorder_pem().as_bytes());
    let mut heads = Vec::new();
    loop {
        let stem = bag::head_stem(heads.len() as u64 + 1);
        let (text_path, seal_path) = (format!("{stem}.txt"), format!("{stem}.p7s"));
        let check = || {
            let text = survey.read_small(&text_path)?;
            let seal = survey.read_small(&seal_path)?;
            let signature =
                authority.check(&text, &seal).map_err(|error| io::Error::other(error.to_string()))?;
            let head = std::str::from_utf8(&text).ok().and_then(Head::parse);
            match head.filter(|_| certificate.as_ref() == Some(&signature.certificate_der)) {
                Some(head) => Ok(Signed { head, file_hash: Hash::sha256(&text) }),
                None => Err(io::Error::other("it is not this recorder's")),
            }
        };
        match check() {
            Ok(signed) => heads.push(signed),
            Err(error) => {
                let later = |path: &&String| {
                    path.starts_with("data/seals/head-") && **path > text_path && !path.starts_with(&stem)
                };
                return match survey.files.iter().find(later) {
                    Some(later) => {
                        Err(survey.broken(&text_path, format!("{error}, and there is a later {later}")))
                    }
                    None => Ok(heads),
                };
            }
        }
    }
}
