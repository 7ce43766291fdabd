//! Signing in: passwords, sessions at browsers, and the one-time links by which passwords are chosen.
//!
//! A sign-in is a random secret in a cookie that only the addresses below `/api/v1/session` get. It is exchanged for
//! tokens of a quarter of an hour, which open everything else; ending the sign-in ends them and the connections that
//! were opened with them, at once. An ending is two things, in the database and in memory; [`to_the_end`] keeps them
//! together.

pub mod browser;
pub mod cookie;
pub mod passwords;
pub mod setup_link;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use hewei_model::{AccountId, InvitationId, LinkId, Origin, RoomId, SignInId};
use hewei_store::{Account, SignIn, Store};
use ring::rand::{SecureRandom, SystemRandom};
use time::{Duration, OffsetDateTime};
use tracing::Instrument;

use crate::{auth::Claims, problem::Problem, state::App};

/// A token of somebody who is signed in.
pub const TOKEN_LIFETIME: Duration = Duration::minutes(15);
/// A sign-in that was not used for so long has ended.
pub const IDLE_MAX: Duration = Duration::hours(12);
/// However much it is used.
pub const SIGN_IN_MAX: Duration = Duration::days(7);
/// The link for somebody who has an account.
pub const ACCOUNT_LINK_LIFETIME: Duration = Duration::hours(72);
/// How long it is remembered that a sign-in ended: longer than a token that was given in the same moment.
const REMEMBERED: Duration = Duration::minutes(16);

/// 256 bits of randomness as text of 43 characters.
pub fn secret() -> Result<String, Problem> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Problem::internal(&"no randomness"))?;
    Ok(BASE64.encode(bytes))
}

/// What a token of this sign-in says.
pub fn claims(account: &Account, sign_in: &SignIn, now: OffsetDateTime) -> Claims {
    let open_until = sign_in.created_at + SIGN_IN_MAX;
    Claims {
        name: account.name.clone(),
        role: account.role,
        room: None,
        participant: account.participant_id,
        origin: Origin::SignIn(sign_in.id),
        expires_at: (now + TOKEN_LIFETIME).min(open_until),
        open_until,
    }
}

/// Whether it is still good: not left alone for too long, and not too old.
pub fn is_live(sign_in: &SignIn, now: OffsetDateTime) -> bool {
    now < sign_in.last_used_at + IDLE_MAX && now < sign_in.created_at + SIGN_IN_MAX
}

/// Until when it is remembered of a sign-in that ends now.
pub fn remembered_until() -> OffsetDateTime {
    OffsetDateTime::now_utc() + REMEMBERED
}

/// Does this work whether somebody waits for it or not. A request is dropped where it waits when its client goes away or
/// its time is over; what ended in the database and not in memory would go on until the next start, and what was done
/// would not be written down.
pub async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    tokio::spawn(work.in_current_span()).await.map_err(|error| Problem::internal(&error))?
}

/// Writes down that there is a link, so that it is listed and can be ended. Other claims have their own rows.
pub async fn keep_link(
    store: &Store,
    claims: &Claims,
    now: OffsetDateTime,
) -> Result<(), hewei_store::Error> {
    let Origin::Link(id) = claims.origin else { return Ok(()) };
    let link = hewei_store::Link {
        id,
        name: claims.name.clone(),
        role: claims.role,
        room_id: claims.room,
        participant_id: claims.participant,
        created_at: now,
        expires_at: claims.expires_at,
    };
    store.add_link(&link).await
}

impl App {
    /// Signs an account in whose password, with this hash, was right just now. Gives the cookie's secret.
    pub async fn begin_sign_in(
        &self,
        account: &Account,
        hash: &str,
        address: std::net::IpAddr,
        browser: String,
    ) -> Result<(String, Claims), Problem> {
        let now = OffsetDateTime::now_utc();
        let sign_in = SignIn {
            id: SignInId::generate(),
            account_id: account.id,
            address: address.to_canonical().to_string(),
            browser,
            created_at: now,
            last_used_at: now,
        };
        let claims = claims(account, &sign_in, now);
        let secret = secret()?;
        let (app, account, hash) = (self.clone(), account.clone(), hash.to_owned());
        to_the_end(async move {
            let detail = format!("from {}, {}", sign_in.address, sign_in.browser);
            app.audit(&claims, "account.sign_in", account.id, None, &detail).await?;
            let made_room = app
                .store
                .add_sign_in(&sign_in, account.role, &hash, &secret, remembered_until())
                .await?
                .ok_or_else(Problem::sign_in_failed)?;
            app.forget_sign_ins(made_room);
            Ok((secret, claims))
        })
        .await
    }

    /// Signs out one. False when it was not signed in.
    pub async fn end_sign_in(&self, id: SignInId) -> Result<bool, Problem> {
        let app = self.clone();
        to_the_end(async move {
            app.forget_sign_ins(vec![id]);
            Ok(app.store.end_sign_in(id, remembered_until()).await?)
        })
        .await
    }

    /// Signs an account out everywhere. Says how many sign-ins that were.
    pub async fn end_sign_ins_of(&self, account: AccountId) -> Result<usize, Problem> {
        let app = self.clone();
        to_the_end(async move {
            let ended = app.store.end_sign_ins_of(account, remembered_until()).await?;
            let count = ended.len();
            app.forget_sign_ins(ended);
            Ok(count)
        })
        .await
    }

    /// Ends a link. False when there is none.
    pub async fn end_link(&self, id: LinkId) -> Result<bool, Problem> {
        let app = self.clone();
        to_the_end(async move {
            let Some(until) = app.store.link_until(id).await? else {
                app.ended_before(Origin::Link(id)).await?;
                return Ok(false);
            };
            app.tokens.revocations().end([Origin::Link(id)], until);
            Ok(app.store.end_link(id).await?.is_some())
        })
        .await
    }

    /// Withdraws an invitation of a room, by which one gets tokens of this lifetime. Gives the name it was made for;
    /// `None` when there is no such invitation, or it was withdrawn before.
    pub async fn revoke_invitation(
        &self,
        room: RoomId,
        id: InvitationId,
        token_lifetime: Duration,
    ) -> Result<Option<String>, Problem> {
        let app = self.clone();
        to_the_end(async move {
            if !app.store.has_invitation(room, id).await? {
                return Ok(None);
            }
            let now = OffsetDateTime::now_utc();
            // Longer than a token can be good that somebody got by it until now.
            let until = now + token_lifetime + Duration::minutes(1);
            app.tokens.revocations().end([Origin::Invitation(id)], until);
            Ok(app.store.revoke_invitation(room, id, now, until).await?)
        })
        .await
    }

    /// Tells memory once more of what the database ended before, if it did.
    pub async fn ended_before(&self, origin: Origin) -> Result<(), Problem> {
        if let Some(until) = self.store.revoked_until(origin).await? {
            self.tokens.revocations().end([origin], until);
        }
        Ok(())
    }

    /// Tells memory of sign-ins that end. Together with the database only, in [`to_the_end`].
    pub fn forget_sign_ins(&self, ids: Vec<SignInId>) {
        self.tokens.revocations().end(ids.into_iter().map(Origin::SignIn), remembered_until());
    }

    /// The account of a token, and which sign-in it is.
    pub async fn account_of(&self, claims: &Claims) -> Result<(Account, SignInId), Problem> {
        let Origin::SignIn(id) = claims.origin else { return Err(Problem::no_account()) };
        let gone = || Problem::from(crate::auth::TokenError::Revoked);
        let sign_in = self.store.sign_in(id).await?.ok_or_else(gone)?;
        let account = self.store.account(sign_in.account_id).await?.ok_or_else(gone)?;
        Ok((account, id))
    }

    /// Ends what has run out and forgets what is over. Called now and then.
    pub async fn tidy_access(&self) -> Result<(), hewei_store::Error> {
        let now = OffsetDateTime::now_utc();
        let ended = self.store.end_old_sign_ins(now - IDLE_MAX, now - SIGN_IN_MAX, now + REMEMBERED).await?;
        self.forget_sign_ins(ended);
        self.tokens.revocations().prune(now);
        self.store.prune_access(now).await
    }
}
