//! What the doctor says, and how it is printed: Chinese first, English below.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    process::ExitCode,
    str::FromStr,
};

use serde::Serialize;

use super::context::Context;

/// Passing lines of one check that are printed; the others are counted. JSON holds all.
const PASSING_LINES_MAX: usize = 12;

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Settings and keys.
    Settings,
    /// Processor, memory, limits of the system.
    Machine,
    /// Space and speed.
    Disk,
    /// The database's file.
    Database,
    /// Time.
    Clock,
    /// HTTPS.
    Certificate,
    /// Ports and who holds them.
    Ports,
    /// What browsers are told to send to.
    Addresses,
    /// A real call, recorded and verified.
    Call,
    /// Every registered camera.
    Cameras,
}

impl Check {
    /// In the order they are made. The call comes after what it stands on, and the cameras last, since they may take
    /// long.
    pub const ALL: [Check; 10] = [
        Check::Settings,
        Check::Machine,
        Check::Disk,
        Check::Database,
        Check::Clock,
        Check::Certificate,
        Check::Ports,
        Check::Addresses,
        Check::Call,
        Check::Cameras,
    ];

    /// The name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Check::Settings => "settings",
            Check::Machine => "machine",
            Check::Disk => "disk",
            Check::Database => "database",
            Check::Clock => "clock",
            Check::Certificate => "certificate",
            Check::Ports => "ports",
            Check::Addresses => "addresses",
            Check::Call => "call",
            Check::Cameras => "cameras",
        }
    }

    const fn chinese(self) -> &'static str {
        match self {
            Check::Settings => "设置",
            Check::Machine => "机器",
            Check::Disk => "磁盘",
            Check::Database => "数据库",
            Check::Clock => "时钟",
            Check::Certificate => "证书",
            Check::Ports => "端口",
            Check::Addresses => "地址",
            Check::Call => "通话与录制",
            Check::Cameras => "摄像头",
        }
    }
}

impl FromStr for Check {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|check| check.as_str() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|check| check.as_str()).collect();
            format!("give one of {}", names.join(", "))
        })
    }
}

/// The same in both languages, each one sentence or a few.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Words {
    pub(super) zh: String,
    pub(super) en: String,
}

/// Words from anything that is text.
pub(super) fn words(zh: impl Into<String>, en: impl Into<String>) -> Words {
    Words { zh: zh.into(), en: en.into() }
}

/// How something is. What is not well comes with what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", content = "remedy", rename_all = "snake_case")]
pub(super) enum Verdict {
    /// As it should be.
    Pass,
    /// It works, and could be better.
    Note(Words),
    /// It does not work, or will not for long.
    Wrong(Words),
    /// It was not looked at; the finding says why.
    Skipped,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) check: Check,
    #[serde(flatten)]
    pub(super) verdict: Verdict,
    #[serde(flatten)]
    pub(super) said: Words,
}

impl Finding {
    pub(super) fn pass(check: Check, said: Words) -> Self {
        Self { check, verdict: Verdict::Pass, said }
    }

    pub(super) fn note(check: Check, said: Words, remedy: Words) -> Self {
        Self { check, verdict: Verdict::Note(remedy), said }
    }

    pub(super) fn wrong(check: Check, said: Words, remedy: Words) -> Self {
        Self { check, verdict: Verdict::Wrong(remedy), said }
    }

    pub(super) fn skipped(check: Check, said: Words) -> Self {
        Self { check, verdict: Verdict::Skipped, said }
    }
}

/// Prints findings as they come, or all at the end as JSON.
pub(super) struct Report {
    json: bool,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Document<'a> {
    result: &'static str,
    version: &'static str,
    findings: &'a [Finding],
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        Self { json, findings: Vec::new() }
    }

    /// The head of the report.
    pub(super) fn begin(&self, context: &Context) -> io::Result<()> {
        let server = match &context.server {
            Some(server) => match server.pid {
                Some(pid) => words(
                    format!("服务器正在运行(进程 {pid})。"),
                    format!("The server is running (process {pid})."),
                ),
                None => words("服务器正在运行。", "The server is running."),
            },
            None => words("服务器没有在运行。", "The server is not running."),
        };
        self.print(&format!("和为 Hewei · 体检 doctor\n{} {}\n", server.zh, server.en))
    }

    /// Takes the findings of one check, which are all that there will be of it.
    pub(super) fn add(&mut self, findings: Vec<Finding>) -> io::Result<()> {
        self.print(&in_words(&findings))?;
        self.findings.extend(findings);
        Ok(())
    }

    /// Says how it went.
    pub(super) fn finish(self) -> anyhow::Result<ExitCode> {
        let count = |wanted: fn(&Verdict) -> bool| {
            self.findings.iter().filter(|finding| wanted(&finding.verdict)).count()
        };
        let wrong = count(|verdict| matches!(verdict, Verdict::Wrong(_)));
        if self.json {
            let document = Document {
                result: if wrong == 0 { "pass" } else { "wrong" },
                version: env!("CARGO_PKG_VERSION"),
                findings: &self.findings,
            };
            write(&format!("{}\n", serde_json::to_string_pretty(&document)?))?;
        } else {
            let passed = count(|verdict| matches!(verdict, Verdict::Pass));
            let notes = count(|verdict| matches!(verdict, Verdict::Note(_)));
            let skipped = count(|verdict| matches!(verdict, Verdict::Skipped));
            write(&format!(
                "\n结果 result: 通过 pass {passed} · 注意 note {notes} · 不对 WRONG {wrong} · 未查 skipped {skipped}\n"
            ))?;
        }
        Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }

    fn print(&self, text: &str) -> io::Result<()> {
        if self.json { Ok(()) } else { write(text) }
    }
}

/// To standard output, at once: the next check may take a while.
fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// One check's findings as people read them.
fn in_words(findings: &[Finding]) -> String {
    let Some(first) = findings.first() else { return String::new() };
    let mut text = format!("\n{} {}\n", first.check.chinese(), first.check.as_str());
    let mut passing = 0;
    for Finding { verdict, said, .. } in findings {
        let (label, remedy) = match verdict {
            Verdict::Pass => ("通过 pass   ", None),
            Verdict::Note(remedy) => ("注意 note   ", Some(remedy)),
            Verdict::Wrong(remedy) => ("不对 WRONG  ", Some(remedy)),
            Verdict::Skipped => ("未查 skipped", None),
        };
        if *verdict == Verdict::Pass {
            passing += 1;
            if passing > PASSING_LINES_MAX {
                continue;
            }
        }
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {label}  {}\n  {:12}  {}", said.zh, "", said.en);
        if let Some(remedy) = remedy {
            let _ = writeln!(text, "  {:12}→ {}\n  {:12}→ {}", "", remedy.zh, "", remedy.en);
        }
    }
    if let more @ 1.. = passing.saturating_sub(PASSING_LINES_MAX) {
        let _ = writeln!(
            text,
            "  通过 pass     还有 {more} 项通过(--json 列出全部)。\n  {:12}  {more} more pass (--json lists all).",
            ""
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_pass_or_what_to_do() {
        let findings = [
            Finding::pass(Check::Ports, words("端口空闲。", "The port is free.")),
            Finding::wrong(
                Check::Ports,
                words("端口被占。", "The port is taken."),
                words("换一个。", "Take another."),
            ),
        ];
        assert_eq!(
            in_words(&findings),
            "\n端口 ports\n  通过 pass     端口空闲。\n                The port is free.\n  不对 WRONG    端口被占。\n                \
             The port is taken.\n              → 换一个。\n              → Take another.\n"
        );
        let json = serde_json::to_value(&findings).expect("JSON");
        assert_eq!(json[0]["verdict"], "pass");
        assert_eq!(json[1]["remedy"]["en"], "Take another.");
        assert_eq!(json[1]["check"], "ports");
    }

    #[test]
    fn many_that_pass_are_counted() {
        let findings = vec![Finding::pass(Check::Cameras, words("好。", "Good.")); PASSING_LINES_MAX + 3];
        let text = in_words(&findings);
        assert_eq!(text.matches("Good.").count(), PASSING_LINES_MAX);
        assert!(text.contains("3 more pass"), "{text}");
    }

    #[test]
    fn names_are_those_of_the_command_line() {
        for check in Check::ALL {
            assert_eq!(check.as_str().parse(), Ok(check));
        }
        assert!("nothing".parse::<Check>().is_err());
    }
}
