//! The district of the demo.

use hewei_model::{CameraId, CaseId, RegionId, RoomId, WallId};
use hewei_store::{Camera, Case, Region, Result, Room, Store, Wall};
use time::OffsetDateTime;

/// Village, and the camera in it. The pictures are drawn by the same index.
const CAMERAS: [(&str, &str); 4] =
    [("望江村", "村口"), ("石桥村", "文化广场"), ("梅岭村", "河堤"), ("云溪村", "调解室")];

/// What the demo goes on with.
pub(super) struct Seeded {
    pub(super) room: RoomId,
    pub(super) case: CaseId,
    /// By index of the picture.
    pub(super) cameras: Vec<CameraId>,
}

/// Fills an empty database; of one that is not, gives the first room and the cameras.
pub(super) async fn seed(store: &Store) -> Result<Seeded> {
    if store.cases(1).await?.is_empty() {
        fill(store).await?;
    }
    let mut room = None;
    // The oldest case is the one made here.
    for case in store.cases(hewei_store::LIST_LIMIT_MAX).await?.into_iter().rev() {
        room = store.rooms_of_case(case.id).await?.into_iter().next();
        if room.is_some() {
            break;
        }
    }
    let room = room.ok_or(hewei_store::Error::NoSuchReference)?;
    let numbers = 1..=CAMERAS.len() as u32;
    let cameras = store.cameras(None, CAMERAS.len() as u32).await?;
    let cameras =
        cameras.into_iter().filter(|camera| numbers.contains(&camera.number)).map(|camera| camera.id);
    Ok(Seeded { room: room.id, case: room.case_id, cameras: cameras.collect() })
}

async fn fill(store: &Store) -> Result<()> {
    let now = OffsetDateTime::now_utc();
    let region = async |parent_id: Option<RegionId>, name: &str| -> Result<RegionId> {
        let id = RegionId::generate();
        store.add_region(&Region { id, parent_id, name: name.to_owned() }).await?;
        Ok(id)
    };
    let district = region(None, "云岭区").await?;
    let towns = [region(Some(district), "望江镇").await?, region(Some(district), "梅岭镇").await?];
    let mut camera_ids = Vec::new();
    let mut villages = Vec::new();
    for (index, (village, place)) in CAMERAS.into_iter().enumerate() {
        let region_id = region(Some(towns[index / 2]), village).await?;
        villages.push(region_id);
        let camera = Camera {
            id: CameraId::generate(),
            number: index as u32 + 1,
            name: format!("{village} · {place}"),
            region_id: Some(region_id),
            gb28181_id: Some(format!("3410020000132{:07}", index + 1)),
            // The demo's cameras say where they are when they have started.
            url: "rtsp://127.0.0.1:9/cam".to_owned(),
        };
        store.add_camera(&camera, None).await?;
        camera_ids.push(camera.id);
    }
    let wall = Wall { id: WallId::generate(), name: "零点夜查 · 第一组".to_owned(), camera_ids };
    store.add_wall(&wall).await?;
    let case = Case {
        id: CaseId::generate(),
        number: "(2026)云调字第 001 号".to_owned(),
        title: "承包地青苗补偿纠纷".to_owned(),
        region_id: villages.first().copied(),
        created_at: now,
    };
    store.add_case(&case).await?;
    let room =
        Room {
            id: RoomId::generate(), case_id: case.id, name: "一号调解室".to_owned(), created_at: now
        };
    store.add_room(&room).await
}
