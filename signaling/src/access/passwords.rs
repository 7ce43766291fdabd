//! Passwords: what may be one, and argon2id, which takes time and memory on purpose and therefore waits in line.

use std::sync::Arc;

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString},
};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::Semaphore;

use crate::problem::Problem;

/// Hashings at once; each takes 19 MiB and tens of milliseconds of one core.
const AT_ONCE_MAX: usize = 2;
/// That wait for their turn, so that whoever waits last waits a second or so.
const LINE_MAX: usize = 32;
/// Of them those of strangers: who signed in from the same place before finds room behind them.
const LINE_OF_STRANGERS_MAX: usize = 24;

const LENGTH_MIN: usize = 10;
const LENGTH_MAX: usize = 128;

/// The commonest that are long enough, in small letters. What they are made of (one letter again and again, a row of
/// digits) is refused besides.
const COMMONEST: [&str; 40] = [
    "password12",
    "password123",
    "password1234",
    "passw0rd123",
    "p@ssw0rd123",
    "qwertyuiop",
    "qwertyuiop123",
    "qwerty12345",
    "qwerty123456",
    "1q2w3e4r5t",
    "1q2w3e4r5t6y",
    "q1w2e3r4t5",
    "1qaz2wsx3edc",
    "1qazxsw2#edc",
    "qazwsxedcrfv",
    "zaq12wsxcde3",
    "asdfghjkl123",
    "zxcvbnm123",
    "zxcvbnm,./",
    "abc1234567",
    "abcd123456",
    "abc123456789",
    "a123456789",
    "a1234567890",
    "aa123456789",
    "123456789a",
    "1234567890a",
    "123456789q",
    "123456abcd",
    "123123123a",
    "123321123a",
    "admin12345",
    "admin123456",
    "administrator",
    "iloveyou123",
    "woaini1314",
    "woaini1314520",
    "woaini520520",
    "5201314520",
    "changeme123",
];

/// A hash that no password has: checking against it takes as long as against any other.
const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Hashes and checks passwords.
pub struct Passwords {
    at_once: Arc<Semaphore>,
    line: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            at_once: Arc::new(Semaphore::new(AT_ONCE_MAX)),
            line: Arc::new(Semaphore::new(LINE_MAX)),
            strangers: Arc::new(Semaphore::new(LINE_OF_STRANGERS_MAX)),
        }
    }
}

impl Passwords {
    /// The hash of a password, in PHC form with its salt.
    pub async fn hash(&self, password: String) -> Result<String, Problem> {
        let mut salt = [0; 16];
        SystemRandom::new().fill(&mut salt).map_err(|_| Problem::internal(&"no randomness"))?;
        let work = move || {
            let salt = SaltString::encode_b64(&salt)?;
            argon2().hash_password(password.as_bytes(), &salt).map(|hash| hash.to_string())
        };
        self.in_turn(true, work).await?.map_err(|error| Problem::internal(&error))
    }

    /// Whether it is the password with this hash. Without a hash it never is, and takes as long.
    pub async fn matches(
        &self,
        password: String,
        hash: Option<String>,
        known: bool,
    ) -> Result<bool, Problem> {
        let work = move || {
            let text = hash.as_deref().unwrap_or(NOBODYS);
            let parsed = PasswordHash::new(text)?;
            match argon2().verify_password(password.as_bytes(), &parsed) {
                Ok(()) => Ok(hash.is_some()),
                Err(argon2::password_hash::Error::Password) => Ok(false),
                Err(error) => Err(error),
            }
        };
        self.in_turn(known, work)
            .await?
            .map_err(|error: argon2::password_hash::Error| Problem::internal(&error))
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        known: bool,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let busy = |_| Problem::busy_signing_in();
        let take = |places: &Arc<Semaphore>| Arc::clone(places).try_acquire_owned().map_err(busy);
        let stranger = if known { None } else { Some(take(&self.strangers)?) };
        let place = take(&self.line)?;
        let turn =
            Arc::clone(&self.at_once).acquire_owned().await.map_err(|error| Problem::internal(&error))?;
        let work = move || {
            // Over when the work is done, and not when the client goes away.
            let _places = (stranger, place, turn);
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| Problem::internal(&error))
    }
}

/// OWASP's parameters for argon2id: 19 MiB, two passes, one lane.
fn argon2() -> Argon2<'static> {
    let params = Params::new(19_456, 2, 1, None).expect("these are allowed");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// Refuses what is too easily guessed.
pub fn check(password: &str, username: &str) -> Result<(), Problem> {
    let length = password.chars().count();
    if !(LENGTH_MIN..=LENGTH_MAX).contains(&length) {
        return Err(Problem::weak_password(format!(
            "It must have {LENGTH_MIN} to {LENGTH_MAX} characters; a few words are easy to remember."
        )));
    }
    let folded = password.to_lowercase();
    let letters = || folded.chars();
    let steps = |by: i64| {
        letters().zip(letters().skip(1)).all(|(a, b)| i64::from(b as u32) - i64::from(a as u32) == by)
    };
    let digits = folded.bytes().all(|byte| byte.is_ascii_digit());
    let in_order = ["01234567890123456789", "98765432109876543210"].iter().any(|row| row.contains(&folded));
    let row = [0, 1, -1].into_iter().any(steps) || (digits && in_order);
    let mut kinds: Vec<char> = letters().collect();
    kinds.sort_unstable();
    kinds.dedup();
    if row || kinds.len() < 4 || COMMONEST.contains(&folded.as_str()) {
        return Err(Problem::weak_password("It is one of those that are tried first; choose another."));
    }
    let username = username.to_lowercase();
    if username.chars().count() >= 4 && folded.replace(&username, "").chars().count() < 6 {
        return Err(Problem::weak_password("It is too much like the user name; choose another."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_known_again_and_no_other() {
        let passwords = Passwords::default();
        let hash = passwords.hash("和为贵 忍为高".into()).await.expect("hashes");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let again = passwords.hash("和为贵 忍为高".into()).await.expect("hashes");
        assert_ne!(hash, again, "each has its salt");
        let matches = async |password: &str, hash: Option<&String>| {
            passwords.matches(password.into(), hash.cloned(), false).await.expect("checks")
        };
        assert!(matches("和为贵 忍为高", Some(&hash)).await);
        assert!(!matches("和为贵 忍为高 ", Some(&hash)).await);
        assert!(!matches("和为贵 忍为高", None).await);
        assert!(!matches("", None).await);
    }

    #[tokio::test]
    async fn strangers_fill_no_more_than_their_part_of_the_line() {
        let passwords = Passwords::default();
        let _working = passwords.at_once.acquire_many(AT_ONCE_MAX as u32).await.expect("free");
        let ask = |known| tokio::time::timeout(std::time::Duration::ZERO, passwords.in_turn(known, || ()));
        let mut waiting = Vec::new();
        for _ in 0..LINE_OF_STRANGERS_MAX {
            let mut one = Box::pin(passwords.in_turn(false, || ()));
            assert!(futures_util::poll!(&mut one).is_pending());
            waiting.push(one);
        }
        assert!(matches!(ask(false).await, Ok(Err(_))), "refused at once");
        assert!(ask(true).await.is_err(), "waits");
    }

    #[test]
    fn what_is_tried_first_is_refused() {
        for weak in [
            "short",
            "123456789",
            "1234567890",
            "0987654321",
            "9876543210",
            "aaaaaaaaaaaa",
            "abcdefghijkl",
            "ababababababab",
            "Password123",
            "Wang.Min2026",
            &"长".repeat(200),
        ] {
            assert!(check(weak, "wang.min").is_err(), "{weak}");
        }
        for good in ["和为贵 忍为高 让为先 好", "correct horse battery", "Xk2#vv90Lq"] {
            assert!(check(good, "wang.min").is_ok(), "{good}");
        }
    }
}
