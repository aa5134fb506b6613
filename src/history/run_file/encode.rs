//! From a kept run to the sections of its file.

use std::collections::HashMap;
use std::sync::Arc;

use super::columns::ColumnWriter;
use super::error::RunFileError;
use super::identities::Identities;
use super::tags::{self, has, value};
use super::{MAX_CELLS, MAX_STRINGS, MAX_TEXT, quantise};
use crate::history::kept::{KeptCell, KeptKernel, KeptRun, KeptValue, KeptWorkload};
use crate::op::InstructionMix;
use crate::report::schema::Limit;

/// Units of an instruction count per instruction: counts are means over up to 4,096 passes.
pub(super) const UNITS_PER_INSTRUCTION: f64 = 4096.0;
/// Counts of this many units and more are kept as exact numbers.
pub(super) const MAX_UNITS: f64 = (1u64 << 52) as f64;

/// A section: its tag, the number of its plane, its bytes.
pub(super) type Section = (u8, u8, Vec<u8>);

/// Makes the sections of a run, the header first.
///
/// # Errors
/// If the run has more cells, names or text than a reader accepts.
pub(super) fn sections(run: &KeptRun) -> Result<Vec<Section>, RunFileError> {
    let header = serde_json::to_vec(&run.header)
        .map_err(|_| RunFileError::damaged("the header cannot be written as JSON, so a number in it is not finite"))?;
    if run.cells.len() > MAX_CELLS {
        return Err(RunFileError::TooLarge { what: "number of cells", max: MAX_CELLS });
    }
    let mut encoder = Encoder::default();
    run.cells.iter().for_each(|cell| encoder.cell(cell));
    run.workloads.iter().for_each(|workload| encoder.workload(workload));
    let Encoder { columns, texts, .. } = encoder;
    if texts.list.len() > MAX_STRINGS {
        return Err(RunFileError::TooLarge { what: "number of names", max: MAX_STRINGS });
    }
    let mut sections = vec![(tags::HEADER, 0, header), (tags::STRINGS, 0, texts.bytes())];
    sections.extend(columns.planes());
    Ok(sections)
}

/// The texts of a run, each once.
#[derive(Default)]
struct Texts {
    indices: HashMap<Arc<str>, usize>,
    list: Vec<Arc<str>>,
}

impl Texts {
    fn index(&mut self, text: &str) -> u64 {
        let text = clip(text);
        if let Some(index) = self.indices.get(text) {
            return *index as u64;
        }
        let text: Arc<str> = text.into();
        self.indices.insert(text.clone(), self.list.len());
        self.list.push(text);
        self.list.len() as u64 - 1
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for text in &self.list {
            let mut length = text.len();
            while length >= 0x80 {
                bytes.push(length as u8 | 0x80);
                length >>= 7;
            }
            bytes.push(length as u8);
            bytes.extend(text.as_bytes());
        }
        bytes
    }
}

/// The longest beginning of a text that a reader accepts.
fn clip(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A list of different things, in the order in which cells refer to them first.
struct List<T> {
    indices: HashMap<T, usize>,
}

impl<T: std::hash::Hash + Eq> List<T> {
    /// The index of a thing, and whether it is new.
    fn index(&mut self, thing: T) -> (usize, bool) {
        let next = self.indices.len();
        let index = *self.indices.entry(thing).or_insert(next);
        (index, index == next)
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        List { indices: HashMap::new() }
    }
}

#[derive(Default)]
struct Encoder {
    columns: ColumnWriter,
    texts: Texts,
    ways: List<(Arc<str>, Option<Arc<str>>)>,
    mixes: List<[u64; InstructionMix::CLASSES]>,
    sites: Identities,
    bodies: Identities,
    /// The time of `inline` in the cell before.
    native: Option<f32>,
    /// The instructions of the cell before, in units.
    units: i64,
}

impl Encoder {
    /// Writes a text, and returns its index.
    fn text(&mut self, tag: u8, text: &str) -> u64 {
        let index = self.texts.index(text);
        self.columns.push(tag, index);
        index
    }

    fn optional_text(&mut self, tag: u8, text: Option<&Arc<str>>) {
        let index = text.map_or(0, |text| self.texts.index(text) + 1);
        self.columns.push(tag, index);
    }

    fn cell(&mut self, cell: &KeptCell) {
        let mut parts = 0;
        let op = self.text(tags::CELL_OP, &cell.name.op);
        self.text(tags::CELL_BODY, &cell.name.body);
        let regime = self.text(tags::CELL_REGIME, &cell.name.regime);
        let way = self.way(&cell.name.mechanism, cell.name.state.as_ref());
        let (mut centre, mut step) = (0.0, quantise::mode_step(0));
        if let Some(overhead) = &cell.overhead {
            let bits;
            (bits, centre) = self.value(tags::CELL_OVERHEAD, overhead);
            parts |= bits;
            step = quantise::mode_step(quantise::encode_magnitude(overhead.standard_error));
        }
        if let Some(native) = cell.native_cycles {
            parts |= has::NATIVE;
            let native = single(native);
            let is_same = self.native == Some(native);
            self.columns.push(tags::CELL_NATIVE, u64::from(!is_same));
            if !is_same {
                self.columns.push_exact(tags::NATIVE, f64::from(native));
            }
            self.native = Some(native);
        }
        if let Some(floor) = cell.floor_cycles {
            parts |= has::FLOOR;
            self.columns.push(tags::CELL_FLOOR, quantise::encode_magnitude(floor));
        }
        if let Some(instructions) = cell.instructions {
            parts |= has::INSTRUCTIONS | self.instructions(instructions);
        }
        if let Some(mix) = &cell.mix {
            parts |= has::MIX;
            self.mix(mix);
        }
        if let Some(code) = cell.code {
            parts |= has::CODE;
            let (site, new_site) = self.sites.encode((way, regime), code.site);
            let (callee, new_body) = self.bodies.encode((op, way), code.body);
            self.columns.push(tags::CELL_SITE, site);
            self.columns.push(tags::CELL_CALLEE, callee);
            new_site.into_iter().for_each(|hash| self.columns.push(tags::SITE, u64::from(hash)));
            new_body.into_iter().for_each(|hash| self.columns.push(tags::BODY, u64::from(hash)));
        }
        self.modes(cell, centre, step);
        self.columns.push(tags::CELL_LIMIT, limit_code(cell.resolved, cell.limit));
        if let Some(reason) = &cell.absent {
            parts |= has::ABSENT;
            self.text(tags::CELL_ABSENT, reason);
        }
        self.columns.push(tags::CELL_HAS, parts);
    }

    /// Writes a way, and returns its index.
    fn way(&mut self, mechanism: &Arc<str>, state: Option<&Arc<str>>) -> u64 {
        let (index, is_new) = self.ways.index((mechanism.clone(), state.cloned()));
        self.columns.push(tags::CELL_WAY, index as u64);
        if is_new {
            self.text(tags::WAY_MECHANISM, mechanism);
            self.optional_text(tags::WAY_STATE, state);
        }
        index as u64
    }

    /// Writes a value, and returns the bits of its parts and the value as it will be read.
    fn value(&mut self, tag: u8, kept: &KeptValue) -> (u64, f64) {
        let error = quantise::encode_magnitude(kept.standard_error);
        self.columns.push(tag + value::ERROR, error);
        self.columns.push(tag + value::FREEDOM, quantise::encode_freedom(kept.degrees_of_freedom));
        let steps = quantise::value_step(error)
            .and_then(|step| quantise::encode_value(kept.value, step).map(|steps| (steps, step)));
        match steps {
            Some((steps, step)) => {
                self.columns.push_signed(tag + value::STEPS, steps);
                (has::VALUE, quantise::decode_value(steps, step))
            }
            None => {
                self.columns.push_exact(tag + value::EXACT, kept.value);
                (has::VALUE | has::EXACT_VALUE, kept.value)
            }
        }
    }

    /// Writes the instructions of a cell, and returns the bits of their form.
    fn instructions(&mut self, instructions: f64) -> u64 {
        let units = instructions * UNITS_PER_INSTRUCTION;
        if units.fract() != 0.0 || units.abs() >= MAX_UNITS {
            self.columns.push_exact(tags::INSTRUCTIONS, instructions);
            return has::EXACT_INSTRUCTIONS;
        }
        let units = units as i64;
        self.columns.push_signed(tags::CELL_INSTRUCTIONS, units - self.units);
        self.units = units;
        0
    }

    fn mix(&mut self, mix: &InstructionMix) {
        let (index, is_new) = self.mixes.index(mix.values().map(f64::to_bits));
        self.columns.push(tags::CELL_MIX, index as u64);
        if index == 0 && is_new {
            for name in InstructionMix::NAMES {
                self.text(tags::MIX_CLASS, name);
            }
        }
        if is_new {
            mix.values().into_iter().for_each(|count| self.columns.push_exact(tags::MIX, count));
        }
    }

    /// Writes the modes of a cell: their distances from its overhead, as that will be read.
    fn modes(&mut self, cell: &KeptCell, centre: f64, step: f64) {
        let mut modes = 0;
        for mode in &cell.modes {
            let Some(steps) = quantise::encode_value(mode.cycles - centre, step) else { continue };
            self.columns.push(tags::MODE_OFFSET, u64::from(mode.offset));
            self.columns.push_signed(tags::MODE_CYCLES, steps);
            self.columns.push(tags::MODE_SHARE, quantise::encode_share(mode.share));
            modes += 1;
        }
        self.columns.push(tags::CELL_MODES, modes);
    }

    fn workload(&mut self, workload: &KeptWorkload) {
        let mut parts = 0;
        self.text(tags::WORKLOAD_NAME, &workload.name);
        self.text(tags::WORKLOAD_UNIT, &workload.unit);
        if let Some(inline) = &workload.inline_cycles {
            parts |= self.value(tags::WORKLOAD_INLINE, inline).0;
        }
        if let Some(instructions) = workload.inline_instructions {
            parts |= has::INSTRUCTIONS;
            self.columns.push_exact(tags::WORKLOAD_INSTRUCTIONS, instructions);
        }
        if let Some(placement) = workload.placement_percent {
            parts |= has::NATIVE;
            self.columns.push_exact(tags::WORKLOAD_PLACEMENT, f64::from(single(placement)));
        }
        self.columns.push_exact(tags::WORKLOAD_FLOOR, f64::from(single(workload.floor_percent)));
        self.columns.push(tags::WORKLOAD_HAS, parts);
        self.columns.push(tags::WORKLOAD_KERNELS, workload.kernels.len() as u64);
        workload.kernels.iter().for_each(|kernel| self.kernel(kernel));
    }

    fn kernel(&mut self, kernel: &KeptKernel) {
        let mut parts = 0;
        self.optional_text(tags::KERNEL_MECHANISM, kernel.name.mechanism.as_ref());
        self.optional_text(tags::KERNEL_STATE, kernel.name.state.as_ref());
        self.optional_text(tags::KERNEL_OPTION, kernel.name.option.as_ref());
        if let Some(overhead) = &kernel.overhead_percent {
            parts |= self.value(tags::KERNEL_OVERHEAD, overhead).0;
        }
        if let Some(floor) = kernel.floor_percent {
            parts |= has::FLOOR;
            self.columns.push(tags::KERNEL_FLOOR, quantise::encode_magnitude(floor));
        }
        if let Some(instructions) = kernel.instructions {
            parts |= has::INSTRUCTIONS;
            self.columns.push_exact(tags::KERNEL_INSTRUCTIONS, instructions);
        }
        if let Some(reason) = &kernel.absent {
            parts |= has::ABSENT;
            self.text(tags::KERNEL_ABSENT, reason);
        }
        self.columns.push(tags::KERNEL_LIMIT, limit_code(kernel.resolved, kernel.limit));
        self.columns.push(tags::KERNEL_HAS, parts);
    }
}

/// A number with 24 bits; one that is too large for it becomes the largest.
fn single(value: f64) -> f32 {
    (value as f32).clamp(f32::MIN, f32::MAX)
}

fn limit_code(is_resolved: bool, limit: Option<Limit>) -> u64 {
    let place = limit.and_then(|limit| tags::LIMITS.iter().position(|it| *it == limit));
    place.map_or(u64::from(is_resolved), |place| place as u64 + 2)
}
