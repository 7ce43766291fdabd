//! How many descriptors the process may open. Systems begin with 1,024 and allow far more to those who ask.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Asks for as many as the system allows, and gives how many that is.
pub fn raise() -> u64 {
    let (soft, hard) = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok(limits) => limits,
        Err(error) => {
            tracing::warn!(%error, "cannot read the limit of open files");
            return 1_024;
        }
    };
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(error) => {
            tracing::warn!(%error, soft, hard, "cannot raise the limit of open files");
            soft
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_allowed() {
        let raised = raise();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("reads");
        assert_eq!((raised, soft), (hard, hard));
    }
}
