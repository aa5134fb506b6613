//! From the sections of a file to a kept run. Every index, length and number is checked before it is used.

use std::sync::Arc;

use super::columns::ColumnReader;
use super::encode::{MAX_UNITS, UNITS_PER_INSTRUCTION};
use super::error::RunFileError;
use super::identities::{Context, Identities};
use super::tags::{self, has, value};
use super::{MAX_CELLS, MAX_KERNELS, MAX_STRINGS, MAX_TEXT, quantise};
use crate::history::kept::{
    CellName, Code, Header, KeptCell, KeptKernel, KeptMode, KeptRun, KeptValue, KeptWorkload, KernelName,
};
use crate::history::names::Names;
use crate::op::InstructionMix;
use crate::report::schema::Limit;

const DAMAGED_CODE: RunFileError = RunFileError::damaged("a code stands for no number");
const DAMAGED_TEXT: RunFileError = RunFileError::damaged("a text is cut off or not UTF-8");

/// Makes a run of the columns of its file. Names that `names` knows are shared with earlier runs.
pub(super) fn run(
    header: Header,
    strings: &[u8],
    columns: ColumnReader,
    names: &mut Names,
) -> Result<KeptRun, RunFileError> {
    let texts = texts(strings, names)?;
    let mut decoder = Decoder { columns, texts, names, ways: Vec::new(), mixes: Vec::new(), native: 0.0, units: 0 };
    decoder.read_ways()?;
    decoder.read_mixes()?;
    let count = decoder.columns.left(tags::CELL_HAS);
    if count > MAX_CELLS {
        return Err(RunFileError::TooLarge { what: "number of cells", max: MAX_CELLS });
    }
    let (mut sites, mut bodies) = (Identities::default(), Identities::default());
    let cells = (0..count).map(|_| decoder.cell(&mut sites, &mut bodies)).collect::<Result<_, _>>()?;
    let count = decoder.columns.left(tags::WORKLOAD_HAS);
    let workloads = (0..count).map(|_| decoder.workload()).collect::<Result<_, _>>()?;
    Ok(KeptRun { header, cells, workloads })
}

fn texts(mut bytes: &[u8], names: &mut Names) -> Result<Vec<Arc<str>>, RunFileError> {
    let mut texts = Vec::new();
    while !bytes.is_empty() {
        let mut length = 0;
        let mut shift = 0;
        loop {
            let (byte, rest) = bytes.split_first().ok_or(DAMAGED_TEXT)?;
            bytes = rest;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
            if shift > 14 {
                return Err(DAMAGED_TEXT);
            }
        }
        let (text, rest) = bytes.split_at_checked(length).filter(|_| length <= MAX_TEXT).ok_or(DAMAGED_TEXT)?;
        bytes = rest;
        texts.push(names.text(str::from_utf8(text).map_err(|_| DAMAGED_TEXT)?));
        if texts.len() > MAX_STRINGS {
            return Err(RunFileError::TooLarge { what: "number of names", max: MAX_STRINGS });
        }
    }
    Ok(texts)
}

type Way = (Arc<str>, Option<Arc<str>>);

struct Decoder<'a> {
    columns: ColumnReader,
    texts: Vec<Arc<str>>,
    names: &'a mut Names,
    ways: Vec<Way>,
    mixes: Vec<Arc<InstructionMix>>,
    /// The time of `inline` in the cell before.
    native: f64,
    /// The instructions of the cell before, in units.
    units: i64,
}

impl Decoder<'_> {
    fn text_index(&mut self, tag: u8) -> Result<usize, RunFileError> {
        self.columns.next_below(tag, self.texts.len())
    }

    fn text(&mut self, tag: u8) -> Result<Arc<str>, RunFileError> {
        let index = self.text_index(tag)?;
        Ok(self.texts[index].clone())
    }

    fn optional_text(&mut self, tag: u8) -> Result<Option<Arc<str>>, RunFileError> {
        let index = self.columns.next_below(tag, self.texts.len() + 1)?;
        Ok(index.checked_sub(1).map(|index| self.texts[index].clone()))
    }

    fn read_ways(&mut self) -> Result<(), RunFileError> {
        for _ in 0..self.columns.left(tags::WAY_MECHANISM) {
            let way = (self.text(tags::WAY_MECHANISM)?, self.optional_text(tags::WAY_STATE)?);
            self.ways.push(way);
        }
        Ok(())
    }

    /// Reads the mixes. Classes that this build does not have are left out.
    fn read_mixes(&mut self) -> Result<(), RunFileError> {
        let mut places = Vec::new();
        for _ in 0..self.columns.left(tags::MIX_CLASS) {
            let name = self.text(tags::MIX_CLASS)?;
            places.push(InstructionMix::NAMES.iter().position(|known| *known == &*name));
        }
        if places.is_empty() {
            return Ok(());
        }
        for _ in 0..self.columns.left(tags::MIX) / places.len() {
            let mut values = [0.0; InstructionMix::CLASSES];
            for place in &places {
                let count = self.columns.next_exact(tags::MIX)?;
                if let Some(value) = place.and_then(|place| values.get_mut(place)) {
                    *value = count;
                }
            }
            self.mixes.push(self.names.mix(&InstructionMix::from_values(values)));
        }
        Ok(())
    }

    fn cell(&mut self, sites: &mut Identities, bodies: &mut Identities) -> Result<KeptCell, RunFileError> {
        let parts = self.columns.next(tags::CELL_HAS)?;
        let has = |part| parts & part != 0;
        let [op_index, regime_index] = [self.text_index(tags::CELL_OP)?, self.text_index(tags::CELL_REGIME)?];
        let (op, regime) = (self.texts[op_index].clone(), self.texts[regime_index].clone());
        let body = self.text(tags::CELL_BODY)?;
        let way = self.columns.next_below(tags::CELL_WAY, self.ways.len())?;
        let (mechanism, state) = self.ways[way].clone();
        let name = self.names.cell(CellName { op, body, mechanism, state, regime });
        let (overhead, step) = self.value(tags::CELL_OVERHEAD, parts)?;
        let native_cycles = if has(has::NATIVE) { Some(self.native()?) } else { None };
        let floor_cycles = if has(has::FLOOR) { Some(self.magnitude(tags::CELL_FLOOR)?) } else { None };
        let instructions = if has(has::INSTRUCTIONS) { Some(self.instructions(parts)?) } else { None };
        let mix = if has(has::MIX) {
            Some(self.mixes[self.columns.next_below(tags::CELL_MIX, self.mixes.len())?].clone())
        } else {
            None
        };
        let code = if has(has::CODE) {
            Some(Code {
                site: self.identity(tags::CELL_SITE, tags::SITE, (way as u64, regime_index as u64), sites)?,
                body: self.identity(tags::CELL_CALLEE, tags::BODY, (op_index as u64, way as u64), bodies)?,
            })
        } else {
            None
        };
        let modes = self.modes(overhead.map_or(0.0, |overhead| overhead.value), step)?;
        let (resolved, limit) = self.limit(tags::CELL_LIMIT)?;
        Ok(KeptCell {
            name,
            overhead,
            native_cycles,
            floor_cycles,
            modes,
            instructions,
            mix,
            code,
            resolved,
            limit,
            absent: if has(has::ABSENT) { Some(self.text(tags::CELL_ABSENT)?) } else { None },
        })
    }

    /// Reads a value if it is there, and the step of modes at its error.
    fn value(&mut self, tag: u8, parts: u64) -> Result<(Option<KeptValue>, f64), RunFileError> {
        if parts & has::VALUE == 0 {
            return Ok((None, quantise::mode_step(0)));
        }
        let error = self.columns.next(tag + value::ERROR)?;
        let standard_error = quantise::decode_magnitude(error).ok_or(DAMAGED_CODE)?;
        let freedom = self.columns.next(tag + value::FREEDOM)?;
        let degrees_of_freedom = quantise::decode_freedom(freedom).ok_or(DAMAGED_CODE)?;
        let value = if parts & has::EXACT_VALUE == 0 {
            let step = quantise::value_step(error).ok_or(DAMAGED_CODE)?;
            quantise::decode_value(self.columns.next_signed(tag + value::STEPS)?, step)
        } else {
            self.columns.next_exact(tag + value::EXACT)?
        };
        Ok((Some(KeptValue { value, standard_error, degrees_of_freedom }), quantise::mode_step(error)))
    }

    fn magnitude(&mut self, tag: u8) -> Result<f64, RunFileError> {
        quantise::decode_magnitude(self.columns.next(tag)?).ok_or(DAMAGED_CODE)
    }

    fn native(&mut self) -> Result<f64, RunFileError> {
        if self.columns.next_below(tags::CELL_NATIVE, 2)? == 1 {
            self.native = self.columns.next_exact(tags::NATIVE)?;
        }
        Ok(self.native)
    }

    fn instructions(&mut self, parts: u64) -> Result<f64, RunFileError> {
        if parts & has::EXACT_INSTRUCTIONS != 0 {
            return self.columns.next_exact(tags::INSTRUCTIONS);
        }
        let delta = self.columns.next_signed(tags::CELL_INSTRUCTIONS)?;
        self.units = self.units.checked_add(delta).ok_or(DAMAGED_CODE)?;
        let units = self.units as f64;
        if units.abs() < MAX_UNITS { Ok(units / UNITS_PER_INSTRUCTION) } else { Err(DAMAGED_CODE) }
    }

    /// Reads a hash: a new one of its list, or one that was read before.
    fn identity(
        &mut self,
        tag: u8,
        list_tag: u8,
        context: Context,
        known: &mut Identities,
    ) -> Result<u32, RunFileError> {
        let code = self.columns.next(tag)?;
        let next = || u32::try_from(self.columns.next(list_tag)?).map_err(|_| DAMAGED_CODE);
        known.decode(context, code, next)?.ok_or(DAMAGED_CODE)
    }

    fn modes(&mut self, centre: f64, step: f64) -> Result<Vec<KeptMode>, RunFileError> {
        let count = self.columns.next_below(tags::CELL_MODES, self.columns.left(tags::MODE_SHARE) + 1)?;
        let mode = |_| {
            let offset = self.columns.next(tags::MODE_OFFSET)?;
            let steps = self.columns.next_signed(tags::MODE_CYCLES)?;
            let share = self.columns.next(tags::MODE_SHARE)?;
            Ok(KeptMode {
                offset: u32::try_from(offset).map_err(|_| DAMAGED_CODE)?,
                cycles: centre + quantise::decode_value(steps, step),
                share: quantise::decode_share(share).ok_or(DAMAGED_CODE)?,
            })
        };
        (0..count).map(mode).collect()
    }

    /// Reads whether an overhead is resolved, and why not.
    fn limit(&mut self, tag: u8) -> Result<(bool, Option<Limit>), RunFileError> {
        let code = self.columns.next_below(tag, tags::LIMITS.len() + 2)?;
        Ok((code == 1, code.checked_sub(2).map(|place| tags::LIMITS[place])))
    }

    fn workload(&mut self) -> Result<KeptWorkload, RunFileError> {
        let parts = self.columns.next(tags::WORKLOAD_HAS)?;
        let has = |part| parts & part != 0;
        let (name, unit) = (self.text(tags::WORKLOAD_NAME)?, self.text(tags::WORKLOAD_UNIT)?);
        let (inline_cycles, _) = self.value(tags::WORKLOAD_INLINE, parts)?;
        let exact = |decoder: &mut Self, part, tag| {
            if has(part) { decoder.columns.next_exact(tag).map(Some) } else { Ok(None) }
        };
        let inline_instructions = exact(self, has::INSTRUCTIONS, tags::WORKLOAD_INSTRUCTIONS)?;
        let placement_percent = exact(self, has::NATIVE, tags::WORKLOAD_PLACEMENT)?;
        let floor_percent = self.columns.next_exact(tags::WORKLOAD_FLOOR)?;
        let count = self.columns.next_below(tags::WORKLOAD_KERNELS, MAX_KERNELS)?;
        let kernels = (0..count).map(|_| self.kernel(&name)).collect::<Result<_, _>>()?;
        Ok(KeptWorkload { name, unit, inline_cycles, inline_instructions, floor_percent, placement_percent, kernels })
    }

    fn kernel(&mut self, workload: &Arc<str>) -> Result<KeptKernel, RunFileError> {
        let parts = self.columns.next(tags::KERNEL_HAS)?;
        let has = |part| parts & part != 0;
        let name = KernelName {
            workload: workload.clone(),
            mechanism: self.optional_text(tags::KERNEL_MECHANISM)?,
            state: self.optional_text(tags::KERNEL_STATE)?,
            option: self.optional_text(tags::KERNEL_OPTION)?,
        };
        let (overhead_percent, _) = self.value(tags::KERNEL_OVERHEAD, parts)?;
        let floor_percent = if has(has::FLOOR) { Some(self.magnitude(tags::KERNEL_FLOOR)?) } else { None };
        let instructions =
            if has(has::INSTRUCTIONS) { Some(self.columns.next_exact(tags::KERNEL_INSTRUCTIONS)?) } else { None };
        let (resolved, limit) = self.limit(tags::KERNEL_LIMIT)?;
        Ok(KeptKernel {
            name: self.names.kernel(name),
            overhead_percent,
            instructions,
            floor_percent,
            resolved,
            limit,
            absent: if has(has::ABSENT) { Some(self.text(tags::KERNEL_ABSENT)?) } else { None },
        })
    }
}
