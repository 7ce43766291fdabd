//! The machine: processor, memory, limits of the system, time zone.

use std::fs;

use nix::sys::resource::{Resource, getrlimit};

use super::report::{Check, Finding, words};

/// Below this the server may be ended by the system in the middle of a session.
const MEMORY_MB_MIN: u64 = 128;
/// Below this a busy day has no room.
const MEMORY_MB_GOOD: u64 = 512;
/// Connections, cameras and files of recordings together.
const DESCRIPTORS_GOOD: u64 = 4_096;
/// What the media sockets ask for; the system gives at most its limit.
const SOCKET_BUFFER: u64 = 4 * 1024 * 1024;

/// What is known of the machine. `None`: the system does not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    cores: usize,
    aes: Option<bool>,
    memory_available_mb: Option<u64>,
    /// As far as the process may raise it.
    descriptors_max: Option<u64>,
    receive_buffer_max: Option<u64>,
    send_buffer_max: Option<u64>,
    time_zone: String,
}

pub(super) fn gather() -> Facts {
    let read = |path: &str| fs::read_to_string(path).ok();
    let number = |path: &str| read(path)?.trim().parse().ok();
    Facts {
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        aes: read("/proc/cpuinfo").as_deref().and_then(has_aes),
        memory_available_mb: read("/proc/meminfo").as_deref().and_then(available_mb),
        descriptors_max: getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(_, hard)| hard),
        receive_buffer_max: number("/proc/sys/net/core/rmem_max"),
        send_buffer_max: number("/proc/sys/net/core/wmem_max"),
        time_zone: time_zone(),
    }
}

/// `flags` on x86, `Features` on ARM.
fn has_aes(cpuinfo: &str) -> Option<bool> {
    let line = cpuinfo.lines().find(|line| line.starts_with("flags") || line.starts_with("Features"))?;
    Some(line.split_whitespace().any(|flag| flag == "aes"))
}

fn available_mb(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1_024)
}

fn time_zone() -> String {
    let variable = std::env::var("TZ").ok().filter(|zone| !zone.is_empty());
    let link = || {
        let target = fs::read_link("/etc/localtime").ok()?;
        let target = target.to_string_lossy().into_owned();
        target.split_once("zoneinfo/").map(|(_, zone)| zone.to_owned())
    };
    variable.or_else(link).unwrap_or_else(|| "UTC".to_owned())
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let check = Check::Machine;
    let mut findings = Vec::new();
    let cores = facts.cores;
    findings.push(match facts.aes {
        Some(false) => Finding::note(
            check,
            words(
                format!("{cores} 核;处理器没有 AES 指令,加密媒体要多用数倍的时间。"),
                format!("{cores} cores; the processor has no AES instructions, so sealing media takes several times as long."),
            ),
            words(
                "虚拟机请把 CPU 类型设为 host(或带 AES 的型号);否则换一台机器,或少开并发的房间。",
                "In a virtual machine set the CPU type to host (or a model with AES); else take another machine, or fewer rooms at once.",
            ),
        ),
        Some(true) => Finding::pass(
            check,
            words(format!("{cores} 核,有 AES 指令。"), format!("{cores} cores with AES instructions.")),
        ),
        None => Finding::pass(
            check,
            words(
                format!("{cores} 核;系统没有说有没有 AES 指令。"),
                format!("{cores} cores; the system does not say whether they have AES instructions."),
            ),
        ),
    });
    findings.extend(facts.memory_available_mb.map(memory));
    findings.extend(facts.descriptors_max.map(descriptors));
    findings.extend(buffers(facts));
    findings.push(Finding::pass(
        check,
        words(
            format!("时区 {};记录一律用 UTC,页面按看的人的时区显示。", facts.time_zone),
            format!("Time zone {}; records are in UTC, pages show the reader's own zone.", facts.time_zone),
        ),
    ));
    findings
}

fn memory(mb: u64) -> Finding {
    let said = words(format!("可用内存 {mb} MB。"), format!("{mb} MB of memory are available."));
    let remedy = || {
        words(
            "关掉别的程序,或加内存;一般要有 512 MB 可用。",
            "End other programs or add memory; 512 MB should be available.",
        )
    };
    match mb {
        ..MEMORY_MB_MIN => Finding::wrong(Check::Machine, said, remedy()),
        MEMORY_MB_MIN..MEMORY_MB_GOOD => Finding::note(Check::Machine, said, remedy()),
        _ => Finding::pass(Check::Machine, said),
    }
}

fn descriptors(most: u64) -> Finding {
    let said = words(
        format!("最多可同时打开 {most} 个文件和连接。"),
        format!("At most {most} files and connections may be open at once."),
    );
    if most >= DESCRIPTORS_GOOD {
        return Finding::pass(Check::Machine, said);
    }
    Finding::note(
        Check::Machine,
        said,
        words(
            "在 systemd 单元里写 LimitNOFILE=65536,或在启动前运行 ulimit -Hn 65536。",
            "Put LimitNOFILE=65536 into the systemd unit, or run ulimit -Hn 65536 before starting.",
        ),
    )
}

fn buffers(facts: &Facts) -> Option<Finding> {
    let (receive, send) = (facts.receive_buffer_max?, facts.send_buffer_max?);
    let said = words(
        format!("内核允许的 UDP 缓冲:收 {} KB,发 {} KB。", receive / 1_024, send / 1_024),
        format!(
            "UDP buffers the kernel allows: {} KB to receive, {} KB to send.",
            receive / 1_024,
            send / 1_024
        ),
    );
    if receive >= SOCKET_BUFFER && send >= SOCKET_BUFFER {
        return Some(Finding::pass(Check::Machine, said));
    }
    let command = format!("sysctl -w net.core.rmem_max={SOCKET_BUFFER} net.core.wmem_max={SOCKET_BUFFER}");
    Some(Finding::note(
        Check::Machine,
        said,
        words(
            format!("人多时突发的包会丢。运行 {command},并写进 /etc/sysctl.d/hewei.conf。"),
            format!(
                "With many people bursts of packets get lost. Run {command}, and put it into /etc/sysctl.d/hewei.conf."
            ),
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::{super::report::Verdict, *};

    fn good() -> Facts {
        Facts {
            cores: 2,
            aes: Some(true),
            memory_available_mb: Some(4_000),
            descriptors_max: Some(1_048_576),
            receive_buffer_max: Some(SOCKET_BUFFER),
            send_buffer_max: Some(SOCKET_BUFFER),
            time_zone: "Asia/Shanghai".into(),
        }
    }

    fn not_passing(facts: &Facts) -> Vec<Verdict> {
        let verdicts = judge(facts).into_iter().map(|finding| finding.verdict);
        verdicts.filter(|verdict| *verdict != Verdict::Pass).collect()
    }

    #[test]
    fn a_good_machine_passes() {
        assert_eq!(not_passing(&good()), []);
        let silent = Facts { aes: None, memory_available_mb: None, descriptors_max: None, ..good() };
        assert_eq!(not_passing(&silent), [], "what the system does not tell is no fault");
    }

    #[test]
    fn each_want_is_told() {
        for facts in [
            Facts { aes: Some(false), ..good() },
            Facts { memory_available_mb: Some(200), ..good() },
            Facts { descriptors_max: Some(1_024), ..good() },
            Facts { receive_buffer_max: Some(212_992), ..good() },
            Facts { send_buffer_max: Some(212_992), ..good() },
        ] {
            assert!(matches!(not_passing(&facts)[..], [Verdict::Note(_)]), "{facts:?}");
        }
        let starved = Facts { memory_available_mb: Some(90), ..good() };
        assert!(matches!(not_passing(&starved)[..], [Verdict::Wrong(_)]));
    }

    #[test]
    fn files_of_the_kernel_are_read() {
        assert_eq!(has_aes("processor\t: 0\nflags\t\t: fpu sse aes avx\n"), Some(true));
        assert_eq!(has_aes("Features\t: fp asimd\n"), Some(false));
        assert_eq!(has_aes("processor : 0\n"), None);
        assert_eq!(available_mb("MemTotal: 1 kB\nMemAvailable:   2097152 kB\n"), Some(2_048));
        let facts = gather();
        assert!(facts.memory_available_mb.is_some() && facts.descriptors_max.is_some(), "{facts:?}");
    }
}
