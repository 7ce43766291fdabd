//! Databases of every earlier schema, opened by today's store.

use std::path::{Path, PathBuf};

use hewei_model::{CameraId, CaseId, ParticipantId, RecordingId, RegionId, RoomId, WallId};
use hewei_store::{Credentials, Error, RecordingState, SealingKey, Store, schema_known};
use sqlx::{ConnectOptions, Connection, SqliteConnection, migrate::Migrator, sqlite::SqliteConnectOptions};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Rows for each table of the first schema, as its program wrote them.
const FIRST: &str = "
INSERT INTO regions VALUES ('00000000-0000-0000-0000-000000000001', NULL, '云岭区');
INSERT INTO regions VALUES ('00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-000000000001', '望江镇');
INSERT INTO cases VALUES ('00000000-0000-0000-0000-000000000003', '2026-1', '青苗补偿',
    '00000000-0000-0000-0000-000000000002', 1800000000000);
INSERT INTO rooms VALUES ('00000000-0000-0000-0000-000000000004', '00000000-0000-0000-0000-000000000003', '一号', 1800000000000);
INSERT INTO invitations (id, room_id, role, name, code_sha256, participant_id, created_at, expires_at, used_at)
    VALUES ('00000000-0000-0000-0000-000000000005', '00000000-0000-0000-0000-000000000004', 'party', '赵',
    x'0102', '00000000-0000-0000-0000-000000000006', 1800000000000, 1800000360000, NULL);
INSERT INTO cameras VALUES ('00000000-0000-0000-0000-000000000007', 101, '村口', '00000000-0000-0000-0000-000000000002',
    '34020000001320000001', 'rtsp://192.0.2.1/cam', NULL);
INSERT INTO walls VALUES ('00000000-0000-0000-0000-000000000008', '夜查');
INSERT INTO wall_cameras VALUES ('00000000-0000-0000-0000-000000000008', 0, '00000000-0000-0000-0000-000000000007');
INSERT INTO purposes VALUES ('00000000-0000-0000-0000-000000000009', 'patrol', '夜查', '陈',
    '00000000-0000-0000-0000-00000000000a', 1800000000000, 1800000360000);
INSERT INTO recordings VALUES ('00000000-0000-0000-0000-00000000000b', '00000000-0000-0000-0000-00000000000c',
    '00000000-0000-0000-0000-000000000004', '00000000-0000-0000-0000-000000000003', 'sealed', 1800000000000, 1800000360000,
    '/var/lib/hewei/recordings/x', 'ab', NULL);
INSERT INTO audit (at, actor, role, action, target, purpose_id, detail)
    VALUES (1800000000000, '王', 'mediator', 'case.create', '00000000-0000-0000-0000-000000000003', NULL, '2026-1');
";

/// What each later schema's program wrote besides. A new migration that makes a table gets its rows here.
const LATER: &[(i64, &str)] = &[
    (
        2,
        "INSERT INTO audit (at, actor, role, action, target, purpose_id, detail, participant_id)
         VALUES (1800000000001, '李', 'lawyer', 'recording.play', 'x', NULL, '', '00000000-0000-0000-0000-00000000000d');",
    ),
    (
        3,
        "INSERT INTO accounts VALUES ('00000000-0000-0000-0000-00000000000e', 'Wang.Min', 'wang.min', '王敏', 'administrator',
             '00000000-0000-0000-0000-00000000000f', '$argon2id$', 0, 1800000000000, NULL);
         INSERT INTO setup_codes VALUES (x'0304', NULL, 1800000360000);
         INSERT INTO sign_ins VALUES ('00000000-0000-0000-0000-000000000010', '00000000-0000-0000-0000-00000000000e', x'0506',
             '192.0.2.1', 'Firefox', 1800000000000, 1800000000000);
         INSERT INTO links VALUES ('00000000-0000-0000-0000-000000000011', '王', 'mediator', NULL,
             '00000000-0000-0000-0000-000000000012', 1800000000000, 1800000360000);
         INSERT INTO revocations VALUES ('link 00000000-0000-0000-0000-000000000013', 1800000360000);
         UPDATE invitations SET revoked_at = 1800000000000;",
    ),
    (
        4,
        "INSERT INTO live_sessions VALUES ('00000000-0000-0000-0000-000000000014',
             '00000000-0000-0000-0000-000000000004', 1800000000000);
         INSERT INTO live_seats VALUES ('00000000-0000-0000-0000-000000000014', '00000000-0000-0000-0000-000000000006',
             '赵', 'party', 1, 1, 0, 0, 1);",
    ),
];

async fn connect(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.expect("opens")
}

async fn execute(database: &mut SqliteConnection, sql: &'static str) {
    sqlx::raw_sql(sql).execute(database).await.expect(sql);
}

/// A database as the program of `schema` left it.
async fn database_of(schema: i64, folder: &Path) -> PathBuf {
    let path = folder.join(format!("{schema}.sqlite"));
    let mut database = connect(&path).await;
    MIGRATIONS.run_to(schema, &mut database).await.expect("its schema");
    execute(&mut database, FIRST).await;
    for (of, sql) in LATER.iter().filter(|(of, _)| *of <= schema) {
        assert!(*of > 1);
        execute(&mut database, sql).await;
    }
    database.close().await.expect("closes");
    path
}

fn id<T: std::str::FromStr>(number: u8) -> T {
    let text = format!("00000000-0000-0000-0000-0000000000{number:02x}");
    text.parse().unwrap_or_else(|_| panic!("{text}"))
}

#[tokio::test]
async fn every_earlier_schema_keeps_its_rows() {
    let folder = tempfile::tempdir().expect("a folder");
    let versions: Vec<i64> = MIGRATIONS.iter().map(|migration| migration.version).collect();
    assert!(versions.is_sorted_by(|one, next| one < next), "each has a number of its own: {versions:?}");
    for &schema in &versions {
        let path = database_of(schema, folder.path()).await;
        let store = Store::open(&path, SealingKey::new(&[1; 32])).await.expect("opens");
        let case = store.case(id::<CaseId>(3)).await.expect("reads").expect("the case");
        assert_eq!((case.number.as_str(), case.region_id), ("2026-1", Some(id::<RegionId>(2))));
        let room = store.room(id::<RoomId>(4)).await.expect("reads").expect("the room");
        assert_eq!((room.name.as_str(), room.case_id), ("一号", case.id));
        let cameras = store.cameras(None, 10).await.expect("reads");
        assert_eq!((cameras.len(), cameras[0].id, cameras[0].number), (1, id::<CameraId>(7), 101));
        let wall = store.wall(id::<WallId>(8)).await.expect("reads").expect("the wall");
        assert_eq!(wall.camera_ids, [id::<CameraId>(7)]);
        let recording = store.recording(id::<RecordingId>(11)).await.expect("reads").expect("the recording");
        assert_eq!(recording.state, RecordingState::Sealed);
        assert_eq!(recording.head_hash.as_deref(), Some("ab"));
        let audit = store.audit_rows(None, 10).await.expect("reads");
        assert_eq!(audit.last().expect("a row").entry.action, "case.create");
        assert_eq!(audit.len(), if schema >= 2 { 2 } else { 1 });
        if schema >= 2 {
            assert_eq!(audit[0].entry.participant_id, Some(id::<ParticipantId>(13)));
        }

        let (account, hash) = match store.account_to_sign_in("wang.min").await.expect("reads") {
            Some((account, hash)) => (Some(account), hash),
            None => (None, None),
        };
        assert_eq!((account.is_some(), hash.is_some()), (schema >= 3, schema >= 3));
        let now = time::OffsetDateTime::from_unix_timestamp(1_800_000_000).expect("a time");
        assert_eq!(store.revocations(now).await.expect("reads").len(), usize::from(schema >= 3));
        assert_eq!(store.links(now, 10).await.expect("reads").len(), usize::from(schema >= 3));
        if let Some(account) = account {
            assert_eq!(store.sign_ins(account.id).await.expect("reads").len(), 1);
        }
        let invitations = store.invitations(room.id, 10).await.expect("reads");
        assert_eq!((invitations.len(), invitations[0].revoked), (1, schema >= 3));
        let live = store.live_sessions().await.expect("reads");
        assert_eq!(live.len(), usize::from(schema >= 4), "{live:?}");

        // And they can be worked with.
        let camera = cameras[0].clone();
        let credentials = Credentials { username: "admin".into(), password: "x".into() };
        let second =
            hewei_store::Camera { id: CameraId::generate(), number: 102, gb28181_id: None, ..camera };
        store.add_camera(&second, Some(&credentials)).await.expect("adds");
        assert_eq!(store.camera_credentials(second.id).await.expect("reads"), Some(credentials));
        store
            .update_recording(&hewei_store::Recording { state: RecordingState::Failed, ..recording })
            .await
            .expect("updates");
        store.close().await;

        let changed = schema < schema_known();
        let next = versions.iter().copied().find(|version| *version > schema).unwrap_or(schema + 1);
        let copy = folder.path().join(format!("{schema}.sqlite.before-{next:04}"));
        assert_eq!(copy.exists(), changed, "{}", copy.display());
        if changed {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&copy).expect("is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let contents = hewei_store::backup::look(&copy).await.expect("a database");
            assert_eq!((contents.schema, contents.cases, contents.recordings.len()), (schema, 1, 1));
            assert_eq!(contents.recordings[0].state, RecordingState::Sealed, "as it was before");
        }
    }
}

#[tokio::test]
async fn a_new_database_needs_no_copy() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("new.sqlite");
    // The server makes an empty file first.
    std::fs::write(&path, "").expect("writes");
    Store::open(&path, SealingKey::new(&[1; 32])).await.expect("opens").close().await;
    let names = std::fs::read_dir(folder.path()).expect("lists").count();
    assert_eq!(names, 1);
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = database_of(schema_known(), folder.path()).await;
    let mut database = connect(&path).await;
    execute(
        &mut database,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'of the future', TRUE, x'00', 0)",
    )
    .await;
    database.close().await.expect("closes");
    let before = std::fs::read(&path).expect("reads");
    let error = Store::open(&path, SealingKey::new(&[1; 32])).await.err().expect("refused");
    assert!(matches!(error, Error::Newer { found: 9999, known } if known == schema_known()), "{error}");
    assert!(error.to_string().contains("install that version again"), "{error}");
    let after = hewei_store::backup::look(&path).await.expect("still a database");
    assert_eq!((after.schema, after.cases), (9999, 1));
    assert_eq!(before.len(), std::fs::read(&path).expect("reads").len());
}

#[tokio::test]
async fn a_copy_is_of_one_moment_and_knows_packages_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = database_of(schema_known(), folder.path()).await;
    let store = Store::open(&path, SealingKey::new(&[1; 32])).await.expect("opens");
    let copy = folder.path().join("copy");
    hewei_store::backup::copy(&path, &copy).await.expect("beside an open one");
    let contents = hewei_store::backup::prepare(&copy).await.expect("prepares");
    assert_eq!(contents.recordings[0].package.as_deref(), Some("/var/lib/hewei/recordings/x"));
    let contents = hewei_store::backup::look(&copy).await.expect("a database");
    assert_eq!(contents.recordings[0].package.as_deref(), Some("x"));
    let restored = Store::open(&copy, SealingKey::new(&[1; 32])).await.expect("opens");
    assert_eq!(restored.live_sessions().await.expect("reads"), [], "no session goes on from a backup");
    let (account, hash) = restored.account_to_sign_in("wang.min").await.expect("reads").expect("the account");
    assert!(hash.is_some(), "with its password");
    assert!(restored.sign_ins(account.id).await.expect("reads").is_empty(), "everybody signs in again");
    restored.close().await;
    let error = hewei_store::backup::copy(&path, &copy).await.expect_err("nothing is written over");
    assert!(error.to_string().contains("exists"), "{error}");
    store.close().await;
    std::fs::write(&copy, "not a database, not even nearly one").expect("writes");
    assert!(hewei_store::backup::look(&copy).await.is_err());
}
