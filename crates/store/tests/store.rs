//! The store against a real database file.

use std::collections::BTreeSet;

use hewei_model::{
    AccountId, CameraId, CaseId, InvitationId, ParticipantId, PurposeId, RecordingId, RegionId, Role, RoomId,
    SessionId, SignInId, WallId,
};
use hewei_store::{
    Account, AccountChange, AuditEntry, Camera, Case, Credentials, Error, Invitation, LiveSeat, LiveSession,
    Purpose, PurposeKind, Recording, RecordingState, Region, Room, SealingKey, SignIn, Store, Wall,
};
use time::{Duration, OffsetDateTime};

struct Fixture {
    store: Store,
    folder: tempfile::TempDir,
    case: Case,
    room: Room,
    now: OffsetDateTime,
}

async fn fixture() -> Fixture {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&folder.path().join("a.sqlite"), SealingKey::new(&[1; 32])).await.expect("opens");
    // Whole milliseconds, as the database keeps them.
    let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).expect("a time");
    let case = Case {
        id: CaseId::generate(),
        number: "2026-1".into(),
        title: "青苗补偿".into(),
        region_id: None,
        created_at: now,
    };
    store.add_case(&case).await.expect("adds");
    let room = Room { id: RoomId::generate(), case_id: case.id, name: "一号".into(), created_at: now };
    store.add_room(&room).await.expect("adds");
    Fixture { store, folder, case, room, now }
}

fn invitation(fixture: &Fixture) -> Invitation {
    Invitation {
        id: InvitationId::generate(),
        room_id: fixture.room.id,
        role: Role::Party,
        name: "赵".into(),
        participant_id: ParticipantId::generate(),
        created_at: fixture.now,
        expires_at: fixture.now + Duration::hours(24),
    }
}

#[tokio::test]
async fn what_was_written_is_read_again_after_a_restart() {
    let f = fixture().await;
    let top = Region { id: RegionId::generate(), parent_id: None, name: "区".into() };
    let below = Region { id: RegionId::generate(), parent_id: Some(top.id), name: "镇".into() };
    f.store.add_region(&top).await.expect("adds");
    f.store.add_region(&below).await.expect("adds");
    f.store.close().await;
    let store =
        Store::open(&f.folder.path().join("a.sqlite"), SealingKey::new(&[1; 32])).await.expect("opens again");
    assert_eq!(store.case(f.case.id).await.expect("reads"), Some(f.case.clone()));
    assert_eq!(store.room(f.room.id).await.expect("reads"), Some(f.room.clone()));
    assert_eq!(store.rooms_of_case(f.case.id).await.expect("reads"), std::slice::from_ref(&f.room));
    assert_eq!(store.regions(10).await.expect("reads"), [top, below]);
    assert_eq!(store.case(CaseId::generate()).await.expect("reads"), None);
}

#[tokio::test]
async fn what_must_be_unique_or_refers_to_nothing_is_refused() {
    let f = fixture().await;
    let again = Case { id: CaseId::generate(), ..f.case.clone() };
    assert!(matches!(f.store.add_case(&again).await, Err(Error::Taken(what)) if what == "cases.number"));
    let nowhere = Room { id: RoomId::generate(), case_id: CaseId::generate(), ..f.room.clone() };
    assert!(matches!(f.store.add_room(&nowhere).await, Err(Error::NoSuchReference)));
    let wall = Wall { id: WallId::generate(), name: "墙".into(), camera_ids: vec![CameraId::generate()] };
    assert!(matches!(f.store.add_wall(&wall).await, Err(Error::NoSuchReference)));
    assert_eq!(f.store.wall(wall.id).await.expect("reads"), None, "a wall is added whole or not at all");
}

#[tokio::test]
async fn of_many_who_redeem_one_code_at_once_one_wins() {
    let f = fixture().await;
    let invitation = invitation(&f);
    f.store.add_invitation(&invitation, "the code").await.expect("adds");
    let mut tries = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (store, now) = (f.store.clone(), f.now);
        tries.spawn(async move { store.redeem("the code", now).await });
    }
    let mut winners = Vec::new();
    while let Some(tried) = tries.join_next().await {
        match tried.expect("no panic") {
            Ok(redeemed) => winners.push(redeemed),
            Err(Error::InvitationUsed) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(winners[0].participant_id, invitation.participant_id);
    assert_eq!(winners[0].room, f.room);
    assert_eq!((winners[0].role, winners[0].name.as_str()), (Role::Party, "赵"));
}

#[tokio::test]
async fn a_code_that_ran_out_is_as_unknown_as_any_other() {
    let f = fixture().await;
    let invitation = invitation(&f);
    f.store.add_invitation(&invitation, "code").await.expect("adds");
    let late = f.store.redeem("code", invitation.expires_at).await;
    assert!(matches!(late, Err(Error::InvitationUnknown)));
    assert!(matches!(f.store.redeem("other", f.now).await, Err(Error::InvitationUnknown)));
    assert!(f.store.redeem("code", invitation.expires_at - Duration::seconds(1)).await.is_ok());
}

#[tokio::test]
async fn neither_codes_nor_credentials_are_in_the_file() {
    let f = fixture().await;
    f.store.add_invitation(&invitation(&f), "visible-code").await.expect("adds");
    let camera = camera(1);
    let credentials = Credentials { username: "visible-user".into(), password: "visible-password".into() };
    f.store.add_camera(&camera, Some(&credentials)).await.expect("adds");
    assert_eq!(f.store.camera_credentials(camera.id).await.expect("opens"), Some(credentials.clone()));
    f.store.close().await;
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(f.folder.path()).expect("lists") {
        bytes.extend(std::fs::read(entry.expect("an entry").path()).expect("reads"));
    }
    let found = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(found("rtsp://192.0.2.1/cam"), "the test looks at the right bytes");
    assert!(!found("visible-code") && !found("visible-user") && !found("visible-password"));
    assert!(!format!("{credentials:?}").contains("visible"));

    let other_key =
        Store::open(&f.folder.path().join("a.sqlite"), SealingKey::new(&[2; 32])).await.expect("opens");
    assert!(matches!(other_key.camera_credentials(camera.id).await, Err(Error::Unsealable(_))));
}

fn camera(number: u32) -> Camera {
    Camera {
        id: CameraId::generate(),
        number,
        name: format!("{number}"),
        region_id: None,
        gb28181_id: None,
        url: "rtsp://192.0.2.1/cam".into(),
    }
}

#[tokio::test]
async fn cameras_come_page_by_page_and_walls_keep_their_order() {
    let f = fixture().await;
    let cameras: Vec<Camera> = [3, 1, 2].into_iter().map(camera).collect();
    for camera in &cameras {
        f.store.add_camera(camera, None).await.expect("adds");
    }
    assert!(
        matches!(f.store.add_camera(&camera(2), None).await, Err(Error::Taken(what)) if what == "cameras.number")
    );
    let numbers = |cameras: Vec<Camera>| cameras.into_iter().map(|camera| camera.number).collect::<Vec<_>>();
    assert_eq!(numbers(f.store.cameras(None, 2).await.expect("reads")), [1, 2]);
    assert_eq!(numbers(f.store.cameras(Some(2), 2).await.expect("reads")), [3]);
    assert_eq!(f.store.camera_credentials(cameras[0].id).await.expect("reads"), None);

    let credentials = Credentials { username: "u".into(), password: String::new() };
    f.store.move_camera(cameras[0].id, "rtsp://192.0.2.9/new", Some(&credentials)).await.expect("moves");
    let moved = f.store.camera(cameras[0].id).await.expect("reads").expect("is there");
    assert_eq!(moved.url, "rtsp://192.0.2.9/new");
    assert_eq!(f.store.camera_credentials(moved.id).await.expect("reads"), Some(credentials));

    let camera_ids = cameras.iter().map(|camera| camera.id).collect::<Vec<_>>();
    let wall = Wall { id: WallId::generate(), name: "墙".into(), camera_ids };
    f.store.add_wall(&wall).await.expect("adds");
    assert_eq!(f.store.walls(10).await.expect("reads"), std::slice::from_ref(&wall));
    let (read, on_it) = f.store.wall_with_cameras(wall.id).await.expect("reads").expect("is there");
    assert_eq!(read, wall);
    assert_eq!(numbers(on_it), [3, 1, 2]);
}

#[tokio::test]
async fn the_audit_log_only_grows() {
    let f = fixture().await;
    let entry = |action: &str| AuditEntry {
        at: f.now,
        actor: "王".into(),
        participant_id: Some(ParticipantId::generate()),
        role: Role::Mediator,
        action: action.into(),
        target: "x".into(),
        purpose_id: Some(PurposeId::generate()),
        detail: String::new(),
    };
    let entries = [entry("a"), entry("b"), entry("c")];
    for entry in &entries {
        f.store.audit(entry).await.expect("appends");
    }
    let rows = f.store.audit_rows(None, 2).await.expect("reads");
    assert_eq!(rows.iter().map(|row| &row.entry).collect::<Vec<_>>(), [&entries[2], &entries[1]]);
    let older = f.store.audit_rows(Some(rows[1].id), 10).await.expect("reads");
    assert_eq!(older.iter().map(|row| &row.entry).collect::<Vec<_>>(), [&entries[0]]);

    // Another connection to the same file, as an operator with a shell would have.
    let url = format!("sqlite://{}", f.folder.path().join("a.sqlite").display());
    let pool = sqlx::SqlitePool::connect(&url).await.expect("connects");
    let columns = "(id, at, actor, role, action, target, detail) VALUES";
    let row = "0, 'nobody', 'party', 'a', 'x', ''";
    for sql in [
        "UPDATE audit SET actor = 'nobody'".to_owned(),
        "DELETE FROM audit".to_owned(),
        "DELETE FROM audit WHERE id = 1".to_owned(),
        "UPDATE OR REPLACE audit SET id = 1 WHERE id = 2".to_owned(),
        format!("INSERT OR REPLACE INTO audit {columns} (1, {row})"),
        format!("REPLACE INTO audit {columns} (3, {row})"),
        format!("INSERT INTO audit {columns} (1, {row}) ON CONFLICT (id) DO UPDATE SET actor = 'nobody'"),
        format!("INSERT INTO audit {columns} (-1, {row})"),
        format!("INSERT INTO audit {columns} (0, {row})"),
    ] {
        let error = sqlx::query(sqlx::AssertSqlSafe(sql.clone())).execute(&pool).await.expect_err(&sql);
        assert!(error.to_string().contains("append-only"), "{sql}: {error}");
    }
    let rows = f.store.audit_rows(None, 10).await.expect("reads");
    assert_eq!(
        rows.iter().rev().map(|row| &row.entry).collect::<Vec<_>>(),
        entries.iter().collect::<Vec<_>>()
    );
    assert_eq!(f.store.audit(&entry("d")).await.expect("goes on"), rows[0].id + 1);
}

#[tokio::test]
async fn lists_have_an_end() {
    let f = fixture().await;
    let entry = AuditEntry {
        at: f.now,
        actor: String::new(),
        participant_id: None,
        role: Role::Operator,
        action: "a".into(),
        target: String::new(),
        purpose_id: None,
        detail: String::new(),
    };
    for _ in 0..=hewei_store::LIST_LIMIT_MAX {
        f.store.audit(&entry).await.expect("appends");
    }
    let all = f.store.audit_rows(None, u32::MAX).await.expect("reads");
    assert_eq!(all.len(), hewei_store::LIST_LIMIT_MAX as usize);
    assert_eq!(f.store.audit_rows(None, 0).await.expect("reads").len(), 1);
}

#[tokio::test]
async fn a_purpose_is_live_for_its_owner_and_its_time() {
    let f = fixture().await;
    let purpose = Purpose {
        id: PurposeId::generate(),
        kind: PurposeKind::Patrol,
        reason: "夜查".into(),
        opened_by: "陈".into(),
        participant_id: ParticipantId::generate(),
        opened_at: f.now,
        expires_at: f.now + Duration::minutes(30),
    };
    f.store.add_purpose(&purpose).await.expect("adds");
    let read = f.store.purpose(purpose.id).await.expect("reads").expect("is there");
    assert_eq!(read, purpose);
    assert!(read.is_live_for(purpose.participant_id, f.now));
    assert!(!read.is_live_for(ParticipantId::generate(), f.now));
    assert!(!read.is_live_for(purpose.participant_id, purpose.expires_at));
}

#[tokio::test]
async fn recordings_by_case_and_room_and_those_left_open_fail() {
    let f = fixture().await;
    let other = Room { id: RoomId::generate(), name: "二号".into(), ..f.room.clone() };
    f.store.add_room(&other).await.expect("adds");
    let recording = |room: RoomId, minute: i64| Recording {
        id: RecordingId::generate(),
        session_id: SessionId::generate(),
        room_id: room,
        case_id: f.case.id,
        state: RecordingState::Recording,
        started_at: f.now + Duration::minutes(minute),
        ended_at: None,
        package: None,
        head_hash: None,
        detail: None,
    };
    let mut sealed = recording(f.room.id, 0);
    let open = recording(other.id, 1);
    f.store.add_recording(&sealed).await.expect("adds");
    f.store.add_recording(&open).await.expect("adds");
    sealed.state = RecordingState::Sealed;
    sealed.ended_at = Some(f.now + Duration::hours(1));
    sealed.package = Some("/srv/package".into());
    sealed.head_hash = Some("ab".repeat(32));
    f.store.update_recording(&sealed).await.expect("updates");
    let read = f.store.recordings(Some(f.case.id), None, 10).await.expect("reads");
    assert_eq!(read, [open.clone(), sealed.clone()], "the newest first");
    assert_eq!(f.store.recordings(None, Some(f.room.id), 10).await.expect("reads"), [sealed.clone()]);
    assert_eq!(f.store.recordings(Some(CaseId::generate()), None, 10).await.expect("reads"), []);

    let mut sealing = Recording { state: RecordingState::Sealing, ..open.clone() };
    assert_eq!(f.store.take_unsealed_recordings().await.expect("updates"), [sealing.clone()]);
    assert_eq!(f.store.recording(open.id).await.expect("reads"), Some(sealing.clone()));
    sealing.state = RecordingState::Failed;
    sealing.detail = Some("the disk is full".into());
    f.store.update_recording(&sealing).await.expect("updates");
    assert_eq!(f.store.take_unsealed_recordings().await.expect("updates"), [sealing], "tried again");
    assert_eq!(f.store.recording(sealed.id).await.expect("reads"), Some(sealed));
    let counted = [RecordingState::Sealed, RecordingState::Failed, RecordingState::Recording];
    let mut counts = BTreeSet::new();
    for state in counted {
        counts.insert((state.as_str(), f.store.count_recordings(state).await.expect("counts")));
    }
    assert_eq!(counts, BTreeSet::from([("failed", 1), ("recording", 0), ("sealed", 1)]));
}

fn live_seat(name: &str) -> LiveSeat {
    LiveSeat {
        participant: ParticipantId::generate(),
        name: name.into(),
        role: Role::Party,
        admitted: false,
        record: true,
        audio_muted: false,
        video_muted: true,
        listed: true,
    }
}

#[tokio::test]
async fn a_session_is_kept_as_it_is_now_until_it_ends() {
    let f = fixture().await;
    let mut session = LiveSession {
        id: SessionId::generate(),
        room_id: f.room.id,
        began_at: f.now,
        seats: vec![live_seat("甲"), live_seat("乙"), live_seat("丙")],
        removed: BTreeSet::from([ParticipantId::generate()]),
    };
    f.store.keep_session(None, &session).await.expect("keeps");
    assert_eq!(f.store.live_sessions().await.expect("reads"), [session.clone()]);

    // One is let in, one goes, one comes, and another is sent out in place of the one before.
    let before = session.clone();
    session.seats[0].admitted = true;
    session.seats[0].record = false;
    session.seats.remove(1);
    session.seats.push(live_seat("丁"));
    session.removed = BTreeSet::from([ParticipantId::generate()]);
    f.store.keep_session(Some(&before), &session).await.expect("keeps");
    assert_eq!(f.store.live_sessions().await.expect("reads"), [session.clone()]);
    // Whatever was written before.
    f.store.keep_session(None, &session).await.expect("keeps");
    assert_eq!(f.store.live_sessions().await.expect("reads"), [session.clone()]);

    // The next session in the room takes the place of one that nobody ended.
    let next = LiveSession { id: SessionId::generate(), seats: vec![live_seat("戊")], ..session.clone() };
    f.store.keep_session(Some(&session), &next).await.expect("keeps");
    assert_eq!(f.store.live_sessions().await.expect("reads"), [next]);
    f.store.forget_session(f.room.id).await.expect("forgets");
    assert_eq!(f.store.live_sessions().await.expect("reads"), []);
}

#[tokio::test]
async fn a_look_changes_nothing_and_sees_what_is_wrong() {
    let folder = tempfile::tempdir().expect("works");
    let path = folder.path().join("a.sqlite");
    let key = || SealingKey::new(&[1; 32]);
    assert!(Store::look(&path, key()).await.is_err(), "there is none, and none is made");
    assert!(!path.exists());
    let store = Store::open(&path, key()).await.expect("works");
    let newest = OffsetDateTime::from_unix_timestamp(1_900_000_000).expect("works");
    let entry = AuditEntry {
        at: newest,
        actor: "周审计".into(),
        participant_id: None,
        role: Role::Auditor,
        action: "audit.read".into(),
        target: "audit".into(),
        purpose_id: None,
        detail: String::new(),
    };
    let look = Store::look(&path, key()).await.expect("works");
    assert_eq!(look.newest_moment().await.expect("works"), None);
    store.audit(&entry).await.expect("works");
    assert_eq!(look.newest_moment().await.expect("works"), Some(newest));
    let schema = look.schema().await.expect("works");
    assert_eq!(schema.database, schema.program);
    assert_eq!(look.quick_check().await.expect("works"), [] as [String; 0]);
    assert!(look.audit(&entry).await.is_err(), "it cannot write");
    look.close().await;
    store.close().await;

    // A page of a table in the middle of the file is overwritten.
    let mut bytes = std::fs::read(&path).expect("works");
    let half = bytes.len() / 2 / 4_096 * 4_096;
    bytes[half..half + 4_096].fill(0x5a);
    std::fs::write(&path, bytes).expect("works");
    let look = Store::look(&path, key()).await.expect("works");
    let found = look.quick_check().await;
    assert!(found.as_ref().is_ok_and(|lines| !lines.is_empty()) || found.is_err(), "{found:?}");
}

/// An account with the password hash `old hash`.
async fn account(f: &Fixture, role: Role) -> Account {
    let account = Account {
        id: AccountId::generate(),
        username: ParticipantId::generate().to_string(),
        name: "李娜".into(),
        role,
        participant_id: ParticipantId::generate(),
        ready: true,
        disabled: false,
        created_at: f.now,
        last_sign_in_at: None,
    };
    f.store.add_account(&account, &account.username, f.now + Duration::hours(1)).await.expect("adds");
    let used = f.store.use_setup_code(&account.username, &account, "old hash", f.now, false, f.now).await;
    assert_eq!(used.expect("uses"), Some(Vec::new()));
    account
}

/// It signs in at one more browser.
async fn sign_in(f: &Fixture, account: &Account, hash: &str) -> SignInId {
    let sign_in = SignIn {
        id: SignInId::generate(),
        account_id: account.id,
        address: "192.0.2.1".into(),
        browser: "Firefox".into(),
        created_at: f.now,
        last_used_at: f.now,
    };
    let secret = sign_in.id.to_string();
    let added = f.store.add_sign_in(&sign_in, account.role, hash, &secret, f.now).await;
    assert_eq!(added.expect("adds"), Some(Vec::new()));
    sign_in.id
}

async fn hash_of(f: &Fixture, account: &Account) -> Option<String> {
    f.store.account_to_sign_in(&account.username).await.expect("reads").expect("is there").1
}

#[tokio::test]
async fn a_change_of_password_that_comes_after_a_reset_or_a_closing_does_nothing() {
    let f = fixture().await;
    let later = f.now + Duration::hours(1);
    let owner = account(&f, Role::Lawyer).await;
    let here = sign_in(&f, &owner, "old hash").await;
    let ended = f.store.reset_account(owner.id, "the code", later, later).await.expect("resets");
    assert_eq!(ended, Some(vec![here]), "in the same change");
    let late = f.store.change_password(owner.id, "old hash", "new hash", here, later).await.expect("asks");
    assert_eq!((late, hash_of(&f, &owner).await), (None, None));
    let code = f.store.setup_code("the code", f.now).await.expect("reads");
    assert!(code.is_some_and(|code| code.account.is_some_and(|account| account.id == owner.id)));

    let closed = account(&f, Role::Lawyer).await;
    let here = sign_in(&f, &closed, "old hash").await;
    let change = AccountChange { disabled: Some(true), ..AccountChange::default() };
    f.store.change_account(closed.id, &change, later).await.expect("changes").expect("is there");
    let late = f.store.change_password(closed.id, "old hash", "new hash", here, later).await.expect("asks");
    assert_eq!((late, hash_of(&f, &closed).await.as_deref()), (None, Some("old hash")));
    let reset = f.store.reset_account(closed.id, "another code", later, later).await.expect("asks");
    assert_eq!(reset, None, "a closed account gets no code");
    assert_eq!(f.store.setup_code("another code", f.now).await.expect("reads"), None);
}

#[tokio::test]
async fn a_new_password_leaves_neither_the_code_nor_other_sign_ins() {
    let f = fixture().await;
    let later = f.now + Duration::hours(1);
    let owner = account(&f, Role::Lawyer).await;
    let here = sign_in(&f, &owner, "old hash").await;
    let there = sign_in(&f, &owner, "old hash").await;
    f.store.put_setup_code("of the owner", Some(owner.id), later).await.expect("puts");
    f.store.put_setup_code("of the first", None, later).await.expect("puts");
    let ended =
        f.store.change_password(owner.id, "old hash", "new hash", here, later).await.expect("changes");
    assert_eq!((ended, hash_of(&f, &owner).await.as_deref()), (Some(vec![there]), Some("new hash")));
    assert_eq!(f.store.setup_code("of the owner", f.now).await.expect("reads"), None);
    assert!(f.store.setup_code("of the first", f.now).await.expect("reads").is_some(), "not this account's");
    assert!(f.store.sign_in(here).await.expect("reads").is_some());
    let revoked = f.store.revocations(f.now).await.expect("reads");
    assert_eq!(revoked, [(hewei_model::Origin::SignIn(there), later)]);

    f.store.put_setup_code("again", Some(owner.id), later).await.expect("puts");
    let used = f.store.use_setup_code("again", &owner, "newest hash", f.now, false, later).await;
    assert_eq!(used.expect("uses"), Some(vec![here]), "the code signs out everywhere, in the same change");
}

#[tokio::test]
async fn a_change_of_an_account_leaves_alone_what_it_does_not_name() {
    let f = fixture().await;
    let later = f.now + Duration::hours(1);
    let owner = account(&f, Role::Mediator).await;
    let here = sign_in(&f, &owner, "old hash").await;
    let change = async |given: AccountChange| {
        f.store.change_account(owner.id, &given, later).await.expect("changes").expect("is there")
    };
    let named = change(AccountChange { name: Some("王敏".into()), ..AccountChange::default() }).await;
    assert_eq!((named.before.name.as_str(), named.after.name.as_str()), ("李娜", "王敏"));
    assert_eq!(named.ended, [], "a name ends nothing");
    let other = change(AccountChange { role: Some(Role::Lawyer), ..AccountChange::default() }).await;
    assert_eq!((other.after.role, other.ended), (Role::Lawyer, vec![here]), "in the same change");
    assert_eq!(f.store.sign_in(here).await.expect("reads"), None);
    change(AccountChange { disabled: Some(true), ..AccountChange::default() }).await;
    // Whoever asked for this saw the account as it was made.
    let nothing = change(AccountChange::default()).await;
    assert_eq!(nothing.before, nothing.after);
    let kept = f.store.account(owner.id).await.expect("reads").expect("is there");
    assert_eq!((kept.name.as_str(), kept.role, kept.disabled), ("王敏", Role::Lawyer, true));
    assert_eq!(kept, nothing.after);
    let nobody = f.store.change_account(AccountId::generate(), &AccountChange::default(), later).await;
    assert_eq!(nobody.expect("asks"), None);
}
