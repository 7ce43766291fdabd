//! `/metrics` and `docs/metrics.md` say the same.

use std::{collections::BTreeMap, path::Path};

use hewei_client::http;

use crate::serve::Served;

/// Names and types in a page's tables: `| `name` | type | …`.
fn documented() -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let page = std::fs::read_to_string(path).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `hewei_"));
    let mut found = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 5, "a row has name, type, unit, meaning in Chinese and in English: {row}");
        assert!(cells.iter().all(|cell| !cell.is_empty()), "an empty cell: {row}");
        let name = cells[0].trim_matches('`').to_owned();
        assert!(found.insert(name, cells[1].to_owned()).is_none(), "twice: {row}");
    }
    found
}

#[tokio::test]
async fn every_metric_is_documented_and_every_documented_one_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    let answer = http::request(served.address, "GET", "/metrics", None, None).await.unwrap();
    assert_eq!(answer.status, 200);
    let mut exposed = BTreeMap::new();
    for line in answer.body.lines() {
        if let Some(said) = line.strip_prefix("# TYPE ") {
            let (name, kind) = said.split_once(' ').unwrap();
            exposed.insert(name.to_owned(), kind.to_owned());
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(exposed.contains_key(name), "no TYPE before {line}");
            assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
        }
    }
    let documented = documented();
    let missing: Vec<String> = exposed
        .iter()
        .filter(|(name, kind)| documented.get(*name) != Some(kind))
        .map(|(name, kind)| format!("| `{name}` | {kind} | UNIT | 含义 | MEANING |"))
        .collect();
    assert!(
        missing.is_empty(),
        "add to the table in docs/metrics.md, or mend the type there:\n{}\n",
        missing.join("\n")
    );
    let gone: Vec<&String> = documented.keys().filter(|name| !exposed.contains_key(*name)).collect();
    assert!(gone.is_empty(), "take out of docs/metrics.md what /metrics no longer has: {gone:?}");
}
