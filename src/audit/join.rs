//! Joins the counts of an execution with the call sites of its binary.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use iced_x86::{Decoder, DecoderOptions, FlowControl};

use super::callgrind::{self, CallgrindError, Executed};
use super::error::AuditError;
use super::execution::{Execution, KindRun, SCHEMA, SiteRun, TargetRun};
use super::functions::Functions;
use super::image::Image;
use super::input::Input;
use super::kind::Kind;
use super::lines::{Lines, Storage};
use super::names::demangle;
use super::opened::{Opened, open};

/// Why a run and a binary cannot be joined.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The binary cannot be audited.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The counts cannot be read.
    #[error(transparent)]
    Counts(#[from] CallgrindError),
    /// The counts are of another build.
    #[error(
        "{}: {calls} of the {all} instructions that made calls are no branches in {binary}: it is not the build that \
         ran; run the program again under callgrind", counts.display()
    )]
    OtherBuild {
        /// The file of counts.
        counts: PathBuf,
        /// The binary.
        binary: String,
        /// Addresses of calls that are none in the binary.
        calls: usize,
        /// All addresses of calls.
        all: usize,
    },
    /// The file is an archive.
    #[error("{0}: an archive does not run; name the program that was linked from it")]
    Archive(String),
}

/// Share of calling instructions that may be no branch of the binary: code that falls through into the next function,
/// and code that is written at run time. Of another build, three of four are none; at half or twice the share, both
/// sides are still far from it.
const MAX_UNKNOWN_SHARE: f64 = 0.1;
/// Targets of a site that are listed.
const MAX_TARGETS: usize = 8;

/// Joins a file of counts with a binary. Costs are not in it yet.
///
/// # Errors
/// If a file cannot be read, or the counts are of another build.
pub fn join(binary: &Path, counts: &Path) -> Result<Execution, JoinError> {
    let shown = counts.display().to_string();
    let file = std::fs::File::open(counts).map_err(|source| CallgrindError::Read { path: shown.clone(), source })?;
    let executed = callgrind::read(&shown, &mut BufReader::new(file), binary)?;
    let input = Input::read(binary)?;
    if input.is_archive() {
        return Err(JoinError::Archive(binary.display().to_string()));
    }
    let Some((name, bytes)) = input.binaries().next() else {
        return Err(JoinError::Archive(binary.display().to_string()));
    };
    let (sites, kinds, known) = open(name, bytes, input.is_unpacked_kernel, |opened| {
        let (storage, image) = (Storage::default(), opened.image);
        let bases = |index| image.section_base(index);
        let parsed = object::File::parse(image.elf.data()).ok();
        let lines = parsed.as_ref().and_then(|file| Lines::open(binary, file, &bases, &storage).ok());
        let known = count_branches(image, &executed);
        let (mut sites, kinds) = collect(opened, &executed);
        for site in &mut sites {
            site.source = lines.as_ref().and_then(|lines| lines.line(site.address));
        }
        (sites, kinds, known)
    })?;
    let all = executed.calls.len();
    if all > 0 && (all - known) as f64 > MAX_UNKNOWN_SHARE * all as f64 {
        let (counts, binary) = (counts.to_owned(), name.to_owned());
        return Err(JoinError::OtherBuild { counts, binary, calls: all - known, all });
    }
    Ok(Execution {
        schema: SCHEMA.to_owned(),
        path: name.to_owned(),
        instructions: executed.instructions.max(executed.own_instructions),
        own_instructions: executed.own_instructions,
        cpu_seconds: None,
        cpu_cycles: None,
        no_cost_reason: None,
        kinds,
        cycles: None,
        percent: None,
        sites,
    })
}

/// How often a site ran. Callgrind adds the instructions of a stub to those of the site that calls it, so a site of the
/// procedure linkage table is counted by its calls.
fn count_calls(executed: &Executed, address: u64, kind: Kind) -> u64 {
    let ran = executed.counts.get(&address).copied().unwrap_or(0);
    match executed.calls.get(&address) {
        Some(targets) if kind == Kind::Plt => {
            let calls = targets.iter().filter(|(name, _)| !is_resolver(name)).map(|(_, calls)| calls);
            calls.fold(0, |sum: u64, calls| sum.saturating_add(*calls))
        }
        _ => ran,
    }
}

/// Whether a function is the loader's, which fills a word of the table at the first call and goes on to the callee.
fn is_resolver(name: &str) -> bool {
    name.starts_with("_dl_runtime_resolve")
}

/// The name of a called function. Callgrind names one by its address if its symbol has no type, as those of assembly.
fn name_target(name: &str, functions: &Functions) -> String {
    let address = name.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let Some(address) = address else { return demangle(name) };
    let symbol = functions.at(address).and_then(|function| function.symbol);
    symbol.map_or_else(|| format!("{address:#x}"), demangle)
}

/// How many of the calling instructions are branches of the binary. To callgrind, a jump between two symbols is a call;
/// in assembly, both may be labels of one function.
fn count_branches(image: &Image, executed: &Executed) -> usize {
    let is_branch = |address: &&u64| {
        let bytes = image.bytes_from(**address);
        let instruction = Decoder::with_ip(64, bytes, **address, DecoderOptions::NONE).decode();
        !instruction.is_invalid() && instruction.flow_control() != FlowControl::Next
    };
    executed.calls.keys().filter(is_branch).count()
}

/// The sites that ran, and the sums by kind.
fn collect(opened: Opened<'_, '_>, executed: &Executed) -> (Vec<SiteRun>, Vec<KindRun>) {
    let Opened { functions, mut reader, .. } = opened;
    let mut sites = Vec::new();
    let mut sums: BTreeMap<Kind, KindRun> = BTreeMap::new();
    for function in &functions.list {
        let control = reader.read(function);
        for site in control.sites {
            let calls = count_calls(executed, site.address, site.kind);
            if calls == 0 || matches!(site.kind, Kind::ReturnThunk | Kind::Thunk) {
                continue;
            }
            let empty = KindRun { kind: site.kind, sites: 0, calls: 0, cycles: None };
            let sum = sums.entry(site.kind).or_insert(empty);
            sum.sites += 1;
            sum.calls = sum.calls.saturating_add(calls);
            if !site.kind.is_indirect_call() && site.kind != Kind::Plt {
                continue;
            }
            let mut targets: Vec<TargetRun> = (executed.calls.get(&site.address).into_iter().flatten())
                .filter(|(name, _)| !is_resolver(name))
                .map(|(name, calls)| TargetRun { name: name_target(name, functions), calls: *calls })
                .collect();
            targets.sort_by(|a, b| b.calls.cmp(&a.calls).then_with(|| a.name.cmp(&b.name)));
            let targets_total = targets.len() as u64;
            let known_calls = targets.iter().fold(0_u64, |sum, target| sum.saturating_add(target.calls));
            targets.truncate(MAX_TARGETS);
            let name = function.symbol.map_or_else(|| format!("{:#x}", function.range.start), demangle);
            sites.push(SiteRun {
                address: site.address,
                function: name,
                kind: site.kind,
                calls,
                targets,
                targets_total,
                known_calls,
                source: None,
                cycles: None,
                percent: None,
                saves: None,
            });
        }
    }
    sites.sort_by_key(|site| std::cmp::Reverse(site.calls));
    (sites, sums.into_values().collect())
}
