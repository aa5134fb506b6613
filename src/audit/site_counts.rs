//! The call sites that ran: the count of each, from what was counted.

use std::collections::{BTreeMap, HashMap};

use iced_x86::{Decoder, DecoderOptions, FlowControl};

use super::branch_records::{BranchTarget, Records};
use super::callgrind::Executed;
use super::control::{Program, RawSite, Reader};
use super::counts::Measured;
use super::coverage::LineCounts;
use super::document::SourceLine;
use super::execution::{CountBasis, KindRun, SiteRun, TargetRun};
use super::functions::{FunctionRange, Functions};
use super::image::Image;
use super::kind::Kind;
use super::lines::Lines;
use super::names::{demangle, visible};

/// Targets of a site that are listed.
const MAX_TARGETS: usize = 8;

/// Sites and counts, joined.
#[derive(Default)]
pub(super) struct Joined {
    /// The indirect sites that ran, the most frequent first.
    pub sites: Vec<SiteRun>,
    /// The sums by kind.
    pub kinds: Vec<KindRun>,
    /// Instructions that called a function, by the counts; for source lines, the sites that were counted.
    pub all: usize,
    /// Those that are call sites.
    pub known: usize,
    /// Indirect sites that nothing counted.
    pub uncounted: u64,
}

/// The count of a site.
struct SiteCount {
    counted: CountBasis,
    calls: Option<u64>,
    records: Option<u64>,
    targets: Vec<TargetRun>,
}

/// Finds the sites that ran, and their counts.
pub(super) fn collect(program: Program<'_, '_>, measured: &Measured, lines: Option<&Lines<'_>>) -> Joined {
    let mut reader = Reader::new(program);
    let Program { image, functions, .. } = program;
    let place = Place { image, functions };
    let found: Vec<(&FunctionRange<'_>, RawSite)> = (functions.list.iter())
        .flat_map(|function| reader.read(function).sites.into_iter().map(move |site| (function, site)))
        .filter(|(_, site)| !matches!(site.kind, Kind::ReturnThunk | Kind::Thunk))
        .collect();
    let by_line = matches!(measured, Measured::Lines(_));
    // Debug information is read only for what is shown, unless lines were counted.
    let line = |address| lines.and_then(|lines| lines.line(address));
    let sources: Vec<Option<SourceLine>> =
        found.iter().filter(|_| by_line).map(|(_, site)| line(site.address)).collect();
    let mut sites_of_line: HashMap<&SourceLine, u64> = HashMap::new();
    for source in sources.iter().flatten() {
        *sites_of_line.entry(source).or_default() += 1;
    }
    let mut joined = Joined::default();
    let mut sums: BTreeMap<Kind, KindRun> = BTreeMap::new();
    for (index, (function, site)) in found.iter().enumerate() {
        let source = sources.get(index).and_then(Option::as_ref);
        let is_listed = site.kind.is_indirect_call() || site.kind == Kind::Plt;
        let count = match measured {
            Measured::Executed(executed) => Some(count_executed(executed, site, &place)),
            Measured::Records(records) => count_records(records, site, &place),
            Measured::Lines(counts) => {
                let is_shared = source.is_some_and(|line| sites_of_line.get(line).is_some_and(|sites| *sites > 1));
                let count = count_line(counts, source, is_shared, function.symbol);
                joined.known += usize::from(count.is_some());
                joined.uncounted += u64::from(count.is_none() && is_listed);
                count
            }
        };
        let Some(count) = count.filter(|count| count.calls.or(count.records) != Some(0)) else { continue };
        let empty = KindRun { kind: site.kind, sites: 0, calls: None, records: None, cycles: None };
        let sum = sums.entry(site.kind).or_insert(empty);
        sum.sites += 1;
        sum.calls = plus(sum.calls, count.calls);
        sum.records = plus(sum.records, count.records);
        if is_listed {
            let source = if by_line { source.cloned() } else { line(site.address) };
            joined.sites.push(describe(function, site, count, source));
        }
    }
    match measured {
        Measured::Executed(executed) => {
            (joined.all, joined.known) = (executed.calls.len(), count_branches(image, executed));
        }
        Measured::Lines(_) => joined.all = joined.known,
        Measured::Records(records) => (joined.all, joined.known) = compare_calls(records, &place, &found),
    }
    joined.sites.sort_by_key(|site| std::cmp::Reverse(site.count()));
    joined.kinds = sums.into_values().collect();
    joined
}

fn plus(sum: Option<u64>, count: Option<u64>) -> Option<u64> {
    count.map_or(sum, |count| Some(sum.unwrap_or(0).saturating_add(count)))
}

fn describe(function: &FunctionRange<'_>, site: &RawSite, count: SiteCount, source: Option<SourceLine>) -> SiteRun {
    let SiteCount { counted, calls, records, mut targets } = count;
    targets.sort_by(|a, b| b.count().cmp(&a.count()).then_with(|| a.name.cmp(&b.name)));
    let targets_total = targets.len() as u64;
    let known_calls = targets.iter().fold(0_u64, |sum, target| sum.saturating_add(target.count()));
    targets.truncate(MAX_TARGETS);
    SiteRun {
        address: site.address,
        function: function.symbol.map_or_else(|| format!("{:#x}", function.range.start), demangle),
        kind: site.kind,
        counted,
        calls,
        records,
        targets,
        targets_total,
        known_calls,
        source,
        cycles: None,
        percent: None,
        saves: None,
    }
}

/// Callgrind adds the instructions of a stub to those of the site that calls it, so a site of the procedure linkage
/// table is counted by its calls.
fn count_executed(executed: &Executed, site: &RawSite, place: &Place<'_, '_>) -> SiteCount {
    let called = executed.calls.get(&site.address);
    let own = called.into_iter().flatten().filter(|(name, _)| !is_resolver(name));
    let target = |(name, calls): (&String, &u64)| TargetRun {
        name: place.name_called(name),
        calls: Some(*calls),
        records: None,
    };
    let targets: Vec<TargetRun> = own.map(target).collect();
    let ran = executed.counts.get(&site.address).copied().unwrap_or(0);
    let calls = match called {
        Some(_) if site.kind == Kind::Plt => targets.iter().fold(0, |sum: u64, it| sum.saturating_add(it.count())),
        _ => ran,
    };
    SiteCount { counted: CountBasis::Instruction, calls: Some(calls), records: None, targets }
}

/// Whether a function is the loader's, which fills a word of the table at the first call and goes on to the callee.
fn is_resolver(name: &str) -> bool {
    name.starts_with("_dl_runtime_resolve")
}

/// How many of the calling instructions are branches of the binary. To callgrind, a jump between two symbols is a call;
/// in assembly, both may be labels of one function.
fn count_branches(image: &Image<'_>, executed: &Executed) -> usize {
    let is_branch = |address: &&u64| {
        let bytes = image.bytes_from(**address);
        let instruction = Decoder::with_ip(64, bytes, **address, DecoderOptions::NONE).decode();
        !instruction.is_invalid() && instruction.flow_control() != FlowControl::Next
    };
    executed.calls.keys().filter(is_branch).count()
}

fn count_records(records: &Records, site: &RawSite, place: &Place<'_, '_>) -> Option<SiteCount> {
    let branches = records.branches.get(&site.address)?;
    let scale = records.branches_per_record.as_ref().ok();
    let calls = |records: u64| scale.map(|scale| (records as f64 * scale).round() as u64);
    let target = |(target, count): (&BranchTarget, &u64)| TargetRun {
        name: place.name(target, &records.files),
        calls: calls(*count),
        records: Some(*count),
    };
    let all = branches.values().fold(0, |sum: u64, count| sum.saturating_add(*count));
    let targets = branches.iter().map(target).collect();
    Some(SiteCount { counted: CountBasis::Records, calls: calls(all), records: Some(all), targets })
}

/// The count of the site's line, else that of its function's entries.
fn count_line(
    counts: &LineCounts,
    source: Option<&SourceLine>,
    is_shared: bool,
    symbol: Option<&str>,
) -> Option<SiteCount> {
    let of_line = source.and_then(|source| counts.line(&source.file, source.line));
    let (counted, calls) = match of_line {
        Some(calls) if is_shared => (CountBasis::SharedLine, calls),
        Some(calls) => (CountBasis::Line, calls),
        None => (CountBasis::Function, counts.function(symbol?)?),
    };
    Some(SiteCount { counted, calls: Some(calls), records: None, targets: Vec::new() })
}

/// The records of branches to the start of another function, by instruction: how many instructions there are, and how
/// many of them are call sites.
fn compare_calls(records: &Records, place: &Place<'_, '_>, found: &[(&FunctionRange<'_>, RawSite)]) -> (usize, usize) {
    let sites: std::collections::HashSet<u64> = found.iter().map(|(_, site)| site.address).collect();
    let is_call = |(from, targets): &(&u64, &BTreeMap<BranchTarget, u64>)| {
        let Some(own) = place.function(**from) else { return false };
        targets.keys().any(|target| match target {
            BranchTarget::Own(to) => place.function(*to).is_some_and(|callee| {
                callee.range.start == *to && callee.parent.is_none() && callee.range.start != own.range.start
            }),
            _ => false,
        })
    };
    let calls = records.branches.iter().filter(is_call);
    calls.fold((0, 0), |(all, known), (from, _)| (all + 1, known + usize::from(sites.contains(from))))
}

/// The names of addresses.
struct Place<'p, 'a> {
    image: &'p Image<'a>,
    functions: &'p Functions<'a>,
}

impl<'a> Place<'_, 'a> {
    fn function(&self, address: u64) -> Option<&FunctionRange<'a>> {
        let after = self.functions.list.partition_point(|function| function.range.start <= address);
        let function = self.functions.list.get(after.checked_sub(1)?)?;
        function.range.contains(&address).then_some(function)
    }

    /// The name of a function that callgrind named: by its address if its symbol has no type, as those of assembly.
    fn name_called(&self, name: &str) -> String {
        let address = name.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let Some(address) = address else { return demangle(name) };
        let symbol = self.functions.at(address).and_then(|function| function.symbol);
        symbol.map_or_else(|| format!("{address:#x}"), demangle)
    }

    fn name(&self, target: &BranchTarget, files: &[String]) -> String {
        match target {
            BranchTarget::Own(address) => {
                let symbol = self.function(*address).and_then(|function| function.symbol);
                let symbol = symbol.or_else(|| self.image.symbol(*address).map(|(symbol, _)| symbol.name));
                symbol.map_or_else(|| format!("{address:#x}"), demangle)
            }
            BranchTarget::Other(file, offset) => {
                let file = files.get(*file).map_or("", String::as_str);
                let last = file.rsplit('/').next().unwrap_or_default();
                format!("{}+{offset:#x}", visible(last))
            }
            BranchTarget::Unknown(address) => format!("{address:#x}"),
        }
    }
}
