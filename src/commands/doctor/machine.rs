//! The build, the processor, the GPU and the memory.

use std::fs;
use std::path::Path;

use crate::autodiff::CpuKernel;
use crate::device::{self, DeviceName};

use super::{Card, Facts, Finding};

/// With less the quickstart does not run: it takes 219 MB, and other programs need some too.
const LEAST_BYTES: u64 = 300_000_000;
/// A base of 0.5 billion numbers takes 3 GB to encode with (README, Cost).
const ENOUGH_BYTES: u64 = 4_000_000_000;

const CONTROL_GROUPS: &str = "/sys/fs/cgroup";

pub(super) fn build() -> Finding {
    let features = if cfg!(feature = "cuda") { vec!["cuda"] } else { Vec::new() };
    let target = format!("{} {}", std::env::consts::OS, std::env::consts::ARCH);
    Finding::ok(Facts::Build { version: env!("CARGO_PKG_VERSION"), features, target })
}

pub(super) fn processor() -> Finding {
    let kernels = CpuKernel::ALL.into_iter().filter(|kernel| kernel.is_available());
    let facts = Facts::Processor {
        name: fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| model_name(&text)),
        threads: rayon::current_num_threads(),
        kernels: kernels.map(CpuKernel::name).collect(),
        chosen: CpuKernel::pays().then(|| CpuKernel::chosen().name()),
    };
    if CpuKernel::chosen() == CpuKernel::Portable {
        let advice = "without AVX2 products with the base take several times as long: a newer processor or a GPU helps";
        return Finding::note(facts, advice);
    }
    Finding::ok(facts)
}

/// The name in the text of `/proc/cpuinfo`.
fn model_name(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_owned())
}

pub(super) fn gpu() -> Finding {
    if !cfg!(feature = "cuda") {
        return Finding::ok(Facts::Gpu { built_in: false, card: None, reason: None });
    }
    match DeviceName::Cuda(0).open() {
        Ok(opened) => Finding::ok(Facts::Gpu { built_in: true, card: card(&opened), reason: None }),
        Err(fault) => {
            let facts = Facts::Gpu { built_in: true, card: None, reason: Some(fault.to_string()) };
            Finding::note(facts, "perk computes on the CPU: `nvidia-smi` says whether the driver sees a card")
        }
    }
}

fn card(opened: &device::Opened) -> Option<Card> {
    let (name, free_bytes, total_bytes) = device::card(&opened.device)?;
    Some(Card { name, total_bytes, free_bytes })
}

pub(super) fn memory() -> Finding {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    judge_memory(kibibytes(&info, "MemTotal"), kibibytes(&info, "MemAvailable"), limit(&groups))
}

fn judge_memory(total_bytes: Option<u64>, available_bytes: Option<u64>, limit_bytes: Option<u64>) -> Finding {
    // A limit beyond what the machine has is none.
    let limit_bytes = limit_bytes.filter(|limit| total_bytes.is_none_or(|total| *limit < total));
    let facts = Facts::Memory { total_bytes, available_bytes, limit_bytes };
    match available_bytes.into_iter().chain(limit_bytes).min() {
        Some(bytes) if bytes < LEAST_BYTES => Finding::problem(
            facts,
            "too little even for the quickstart: close other programs, or raise the limit",
        ),
        Some(bytes) if bytes < ENOUGH_BYTES => Finding::note(
            facts,
            "enough for the tiny base; a base of 0.5 billion parameters needs about 4 GB (meta-train --dry-run says how \
             much a run needs)",
        ),
        _ => Finding::ok(facts),
    }
}

/// A field of `/proc/meminfo`, in bytes.
fn kibibytes(info: &str, field: &str) -> Option<u64> {
    let rest = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The lowest limit of memory among the control groups in the text of `/proc/self/cgroup` and those above them, in both
/// versions of control groups.
fn limit(groups: &str) -> Option<u64> {
    let lines = groups.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        rest.split_once(':')
    });
    let limits = lines.filter_map(|(controllers, group)| {
        let (root, file) = match controllers {
            "" => (CONTROL_GROUPS.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                (format!("{CONTROL_GROUPS}/memory"), "memory.limit_in_bytes")
            }
            _ => return None,
        };
        lowest(Path::new(&root), group, file)
    });
    limits.min()
}

/// The lowest number in the files called `file` of `group` and of the groups above it. A container may see its own group
/// as the root, where the group's path does not lead anywhere.
fn lowest(root: &Path, group: &str, file: &str) -> Option<u64> {
    let own = root.join(group.trim_start_matches('/'));
    let above = own.ancestors().take_while(|folder| folder.starts_with(root));
    above.filter_map(|folder| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn numbers_are_read_as_linux_writes_them() {
        let info = "MemTotal:       24570128 kB\nMemFree:  12 kB\nMemAvailable:   1024 kB\nHugePages_Total:       0\n";
        assert_eq!(kibibytes(info, "MemTotal"), Some(24_570_128 * 1024));
        assert_eq!(kibibytes(info, "MemAvailable"), Some(1 << 20));
        assert_eq!(kibibytes(info, "HugePages_Total"), None, "no unit");
        assert_eq!(kibibytes(info, "Mem"), None);
        let cpus = "processor\t: 0\nmodel name\t: Some: CPU @ 2 GHz\nflags : fpu\n";
        assert_eq!(model_name(cpus).as_deref(), Some("Some: CPU @ 2 GHz"));
        assert_eq!(model_name("Hardware : x\n"), None);
    }

    #[test]
    fn the_lowest_limit_of_a_group_and_those_above_it_counts() {
        let room = tempfile::tempdir().unwrap();
        let root = room.path().join("root");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(room.path().join("memory.max"), "1").unwrap();
        assert_eq!(lowest(&root, "/a/b", "memory.max"), None);
        fs::write(root.join("a/b/memory.max"), "max\n").unwrap();
        fs::write(root.join("a/memory.max"), "2000\n").unwrap();
        fs::write(root.join("memory.max"), "3000\n").unwrap();
        assert_eq!(lowest(&root, "/a/b", "memory.max"), Some(2000));
        assert_eq!(lowest(&root, "/", "memory.max"), Some(3000));
        assert_eq!(lowest(&root, "/seen/from/outside", "memory.max"), Some(3000));
    }

    #[test]
    fn little_memory_is_said_and_too_little_is_a_problem() {
        let state = |available, limit| judge_memory(Some(24 << 30), available, limit).state;
        assert_eq!(state(Some(20 << 30), None), State::Ok);
        assert_eq!(state(Some(20 << 30), Some(2 << 30)), State::Note);
        assert_eq!(state(Some(20 << 30), Some(1 << 20)), State::Problem);
        assert_eq!(state(Some(1 << 20), None), State::Problem);
        assert_eq!(
            judge_memory(None, None, None).state,
            State::Ok,
            "where nothing is known, nothing is said"
        );
        let Facts::Memory { limit_bytes, .. } = judge_memory(Some(1 << 30), None, Some(u64::MAX)).facts
        else {
            panic!("facts of something else")
        };
        assert_eq!(limit_bytes, None);
    }
}
