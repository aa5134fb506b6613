//! From a file to its part of the document.

use std::path::Path;

use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter};
use object::Object;
use rustc_hash::FxHashMap;

use super::control::{Control, Program, RawSite, Reader, Target};
use super::document::{Binary, Counts, Function, ListingLine, Site};
use super::error::AuditError;
use super::functions::FunctionRange;
use super::image::Image;
use super::input::Input;
use super::kernel::Marks;
use super::kind::Kind;
use super::names::demangle;
use super::open::open;
use super::parts::remove_jumps_to_parts;
use super::sources;
use super::thunks::{name_of_address, name_of_word};
use super::two_threads;
use crate::select;

/// What an audit tells.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Globs of functions, by name or symbol; their sites and instructions are listed. None: all functions that have a
    /// site, with their indirect sites.
    pub functions: Vec<String>,
    /// Whether to look source lines up.
    pub lines: bool,
}

/// Audits a file: one binary, or one for each member of an archive.
///
/// # Errors
/// If the file cannot be read or has no x86-64 machine code. Nothing in a file makes it panic.
///
/// ```
/// use pvbench::audit::{Options, audit_file, kind::Kind};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let program = std::env::current_exe()?;
/// let binaries = audit_file(&program, &Options::default())?;
/// assert!(binaries[0].counts[&Kind::Direct] > 0);
/// # Ok(())
/// # }
/// ```
pub fn audit_file(path: &Path, options: &Options) -> Result<Vec<Binary>, AuditError> {
    audit_input(&Input::read(path)?, options)
}

/// Audits the bytes of a file: one binary, or one for each member of an archive. The path is its name.
///
/// # Errors
/// As for [`audit_file`].
pub fn audit_bytes(path: &Path, bytes: Vec<u8>, options: &Options) -> Result<Vec<Binary>, AuditError> {
    audit_input(&Input::of(path, bytes)?, options)
}

fn audit_input(input: &Input, options: &Options) -> Result<Vec<Binary>, AuditError> {
    let mut binaries = Vec::new();
    for (name, bytes) in input.binaries() {
        match audit_binary(name, bytes, input.is_unpacked_kernel, options) {
            Ok(binary) => binaries.push(binary),
            // An archive has members without code.
            Err(AuditError::NoCode { .. }) if input.is_archive() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(binaries)
}

/// Audits the bytes of one binary; `path` is its name in messages and in the document.
///
/// # Errors
/// As for [`audit_file`].
pub fn audit_binary(path: &str, bytes: &[u8], is_kernel: bool, options: &Options) -> Result<Binary, AuditError> {
    open(path, bytes, is_kernel, |program| describe_binary(path, bytes, program, options))
}

/// Reads all functions of a program: the control transfers of each.
#[must_use]
pub fn read_functions(program: Program<'_, '_>) -> Vec<Control> {
    let list = &program.functions.list;
    let mut controls = two_threads::map(list, || Reader::new(program), |reader, _, range| reader.read(range));
    remove_jumps_to_parts(program.functions, &mut controls);
    controls
}

fn describe_binary(path: &str, bytes: &[u8], program: Program<'_, '_>, options: &Options) -> Binary {
    let Program { image, functions, .. } = program;
    let mut binary = Binary {
        path: path.to_owned(),
        kind: image.kind,
        bytes: bytes.len() as u64,
        build_id: image.elf.build_id().ok().flatten().map(to_hex),
        function_source: functions.source,
        debug_information: None,
        no_lines_reason: None,
        code_bytes: image.code().map(|chunk| chunk.bytes.len() as u64).sum(),
        instructions: 0,
        undecoded_bytes: 0,
        functions_total: functions.list.len() as u64,
        counts: Counts::new(),
        returns: 0,
        functions: Vec::new(),
    };
    let is_asked = |function: &FunctionRange| {
        let mut names = function.symbol.iter().chain(&function.aliases);
        let is_named = |address: u64| matches(&options.functions, &format!("{address:#x}"));
        options.functions.is_empty()
            || names.any(|name| matches(&options.functions, name))
            || function.symbol.is_none() && is_named(function.range.start)
    };
    let list = &functions.list;
    let controls = read_functions(program);
    for control in &controls {
        binary.instructions += control.instructions;
        binary.undecoded_bytes += control.undecoded;
        binary.returns += control.returns;
    }
    binary.counts = count(controls.iter().flat_map(|control| &control.sites).map(|site| site.kind));
    let is_listed = !options.functions.is_empty();
    binary.functions = two_threads::filter_map(
        list,
        || Describer::new(program, is_listed),
        |describer, index, range| {
            let control = controls.get(index)?;
            let is_shown = is_listed || !control.sites.is_empty();
            (is_shown && is_asked(range)).then(|| describer.describe(range, control))
        },
    );
    if options.lines {
        sources::add(&mut binary, bytes, &|index| image.section_base(index));
    }
    binary
}

/// Whether a glob matches a symbol or its demangled name.
fn matches(globs: &[String], symbol: &str) -> bool {
    let name = demangle(symbol);
    globs.iter().any(|glob| select::matches_glob(glob, symbol) || select::matches_glob(glob, &name))
}

/// The numbers of sites by kind.
#[must_use]
pub fn count(kinds: impl Iterator<Item = Kind>) -> Counts {
    let mut counts = [0; Kind::ALL.len()];
    kinds.for_each(|kind| counts[kind as usize] += 1);
    Kind::ALL.into_iter().map(|kind| (kind, counts[kind as usize])).filter(|(_, count)| *count > 0).collect()
}

/// Writes functions for the document. It keeps the names of what they call.
struct Describer<'p, 'a> {
    program: Program<'p, 'a>,
    /// Whether all sites and instructions are listed.
    is_listed: bool,
    formatter: IntelFormatter,
    names: FxHashMap<(Target, bool), Option<String>>,
}

impl<'p, 'a> Describer<'p, 'a> {
    fn new(program: Program<'p, 'a>, is_listed: bool) -> Describer<'p, 'a> {
        let mut formatter = IntelFormatter::new();
        formatter.options_mut().set_hex_prefix("0x");
        formatter.options_mut().set_hex_suffix("");
        Describer { program, is_listed, formatter, names: FxHashMap::default() }
    }

    fn describe(&mut self, range: &FunctionRange, control: &Control) -> Function {
        let name = range.symbol.map_or_else(|| format!("{:#x}", range.range.start), demangle);
        let is_listed = self.is_listed;
        let shown = |site: &&RawSite| {
            is_listed || !matches!(site.kind, Kind::Direct | Kind::Plt | Kind::Fentry | Kind::ReturnThunk)
        };
        let sites: Vec<Site> = control.sites.iter().filter(shown).map(|site| self.site(site)).collect();
        Function {
            symbol: range.symbol.filter(|symbol| *symbol != name).map(str::to_owned),
            aliases: range.aliases.iter().map(|alias| demangle(alias)).collect(),
            name,
            address: range.range.start,
            bytes: range.range.end - range.range.start,
            instructions: control.instructions,
            call_instructions: control.calls,
            jump_instructions: control.jumps,
            return_instructions: control.returns,
            counts: count(control.sites.iter().map(|site| site.kind)),
            source: None,
            listing: if is_listed { self.listing(range, &sites) } else { Vec::new() },
            sites,
        }
    }

    fn text(&mut self, instruction: &Instruction) -> String {
        let mut text = String::new();
        self.formatter.format(instruction, &mut text);
        text
    }

    fn site(&mut self, site: &RawSite) -> Site {
        let Program { image, marks, .. } = self.program;
        let bytes = image.bytes_from(site.address);
        let instruction = Decoder::with_ip(64, bytes, site.address, DecoderOptions::NONE).decode();
        // The op of a pv site depends on the site.
        let target = match marks.op(site.address) {
            Some(_) => name_target(image, marks, site),
            None => {
                let key = (site.target, matches!(site.kind, Kind::Got | Kind::Plt));
                self.names.entry(key).or_insert_with(|| name_target(image, marks, site)).clone()
            }
        };
        Site {
            address: site.address,
            kind: site.kind,
            tail: site.is_tail,
            target,
            instruction: self.text(&instruction),
            source: None,
            inlined: Vec::new(),
        }
    }

    fn listing(&mut self, range: &FunctionRange, sites: &[Site]) -> Vec<ListingLine> {
        let bytes = self.program.image.bytes(&range.range);
        let decoder = Decoder::with_ip(64, bytes, range.range.start, DecoderOptions::NONE);
        let line = |instruction: Instruction| {
            let site = sites.binary_search_by_key(&instruction.ip(), |site| site.address).ok();
            let site = site.and_then(|at| sites.get(at));
            ListingLine {
                address: instruction.ip(),
                instruction: self.text(&instruction),
                kind: site.map(|site| site.kind),
                target: site.and_then(|site| site.target.clone()),
                source: None,
            }
        };
        decoder.into_iter().map(line).collect()
    }
}

/// The name of what a site calls.
#[must_use]
pub fn name_target(image: &Image, marks: &Marks, site: &RawSite) -> Option<String> {
    if let Some(op) = marks.op(site.address) {
        return Some(op.to_owned());
    }
    match site.target {
        Target::Code(address) => Some(
            name_of_address(image, address).as_deref().map_or_else(|| format!("{address:#x}"), demangle_with_offset),
        ),
        Target::Word(word) => {
            let holds_name = matches!(site.kind, Kind::Got | Kind::Plt);
            let name = if holds_name { name_of_word(image, word) } else { name_of_address(image, word) };
            Some(name.as_deref().map_or_else(|| format!("{word:#x}"), demangle_with_offset))
        }
        Target::Offset(offset) => {
            Some(if offset < 0 { format!("-{:#x}", offset.unsigned_abs()) } else { format!("+{offset:#x}") })
        }
        Target::Nothing => None,
    }
}

/// Demangles the symbol in `symbol+0x10`.
fn demangle_with_offset(name: &str) -> String {
    match name.rsplit_once("+0x") {
        Some((symbol, offset)) => format!("{}+0x{offset}", demangle(symbol)),
        None => demangle(name),
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
