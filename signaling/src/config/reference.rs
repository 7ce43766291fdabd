//! `docs/configuration.md`: the table of settings, made from the shipped file and from what the reader itself says.

use std::{collections::BTreeMap, fmt::Write, path::Path};

use super::Config;

const BEGIN: &str = "<!-- made from config/hewei.toml by the test of signaling/src/config/reference.rs -->\n";
const END: &str = "<!-- end of what is made -->\n";

/// A setting of the shipped file, with the comment above it in both languages.
struct Setting {
    section: String,
    key: String,
    default: String,
    zh: String,
    en: String,
}

/// Reads the shipped file as a person does: a comment is about the settings that follow it directly.
fn settings() -> Vec<Setting> {
    let mut settings = Vec::new();
    let (mut section, mut zh, mut en) = (String::new(), String::new(), String::new());
    let mut fresh = true;
    for line in include_str!("../../../config/hewei.toml").lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
            fresh = true;
        } else if let Some(comment) = line.strip_prefix('#') {
            if std::mem::take(&mut fresh) {
                (zh, en) = (String::new(), String::new());
            }
            // Both languages may share a line, four spaces apart.
            for part in comment.split("    ").map(str::trim).filter(|part| !part.is_empty()) {
                let is_zh = part.chars().any(|char| ('\u{4e00}'..='\u{9fff}').contains(&char));
                let text = if is_zh { &mut zh } else { &mut en };
                let space = if text.is_empty() || is_zh { "" } else { " " };
                let _ = write!(text, "{space}{part}");
            }
        } else if let Some((key, default)) = line.split_once(" = ") {
            let (key, default) = (key.to_owned(), default.to_owned());
            settings.push(Setting { section: section.clone(), key, default, zh: zh.clone(), en: en.clone() });
            fresh = true;
        }
    }
    settings
}

/// What the reader says is allowed, in its own words; `None` where it takes any text.
fn allowed(variable: &str) -> Option<String> {
    // A lone NUL is no number, no address and no list of any.
    let environment = BTreeMap::from([(variable.to_owned(), "\0".to_owned())]);
    let error = Config::read("", environment).err()?.to_string();
    Some(error.split_once("it must be ")?.1.to_owned())
}

fn table() -> String {
    let mut table = String::from(BEGIN);
    let mut section = "";
    let settings = settings();
    for setting in &settings {
        if setting.section != section {
            section = &setting.section;
            let _ = write!(
                table,
                "\n### `[{section}]`\n\n| 设置 Setting | 默认 Default | 环境变量 Variable | 含义 | Meaning |\n|---|---|---|---|---|\n"
            );
        }
        let variable = format!("HEWEI_{}_{}", section.to_uppercase(), setting.key.to_uppercase());
        let allowed = allowed(&variable).map(|allowed| format!(" Allowed: {allowed}.")).unwrap_or_default();
        let Setting { key, default, zh, en, .. } = setting;
        let cell = |text: &str| text.replace('|', "\\|");
        let _ = writeln!(
            table,
            "| `{key}` | `{}` | `{variable}` | {} | {}{} |",
            cell(default),
            cell(zh),
            cell(en),
            cell(&allowed)
        );
    }
    table.push('\n');
    table.push_str(END);
    table
}

#[test]
fn the_page_holds_every_setting_as_the_program_reads_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let page = std::fs::read_to_string(&path).expect("docs/configuration.md is there");
    let (before, rest) = page.split_once(BEGIN).expect("the mark at the beginning of the table");
    let (_, after) = rest.split_once(END).expect("the mark at its end");
    let right = format!("{before}{}{after}", table());
    if std::env::var_os("WRITE_DOCS").is_some() {
        std::fs::write(&path, &right).expect("writes");
    }
    assert!(
        page == right || std::env::var_os("WRITE_DOCS").is_some(),
        "docs/configuration.md differs from config/hewei.toml: make its table anew with\n  WRITE_DOCS=1 cargo test -p \
         hewei --lib config::reference"
    );
}

#[test]
fn every_setting_is_explained_in_both_languages() {
    for Setting { section, key, zh, en, .. } in settings() {
        assert!(
            !zh.is_empty() && !en.is_empty(),
            "{section}.{key} in config/hewei.toml: Chinese and English, please"
        );
    }
}
