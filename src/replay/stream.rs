//! The stream that drives a replay: for each executed block, what its code takes from the recording.

use super::ReplayError;
use super::address::{Address, Addresses};
use super::arena::{Arena, MAX_REPEATED_LINES};
use super::data::{Accesses, NO_LINE, is_access};
use super::flow::Flow;
use super::place::Places;
use super::plan::{Field, Plan};
use crate::linux::record::recording::Recording;

/// Bound on the stream: twenty times that of a usual recording.
const MAX_STREAM_BYTES: usize = 64 << 20;
/// Eight-byte words of a line.
const WORDS_PER_LINE: u32 = 8;

/// What a stream is made from.
pub(super) struct StreamWriter<'a> {
    pub recording: &'a Recording,
    pub flow: &'a Flow,
    pub accesses: &'a Accesses,
    pub addresses: &'a Addresses,
    pub arena: &'a Arena,
    pub plan: &'a Plan,
    pub places: &'a Places,
    /// Distance of the upper end of the stack from the origin.
    pub stack: usize,
}

impl StreamWriter<'_> {
    /// Writes the stream of the whole window.
    pub(super) fn write(&self) -> Result<Vec<u8>, ReplayError> {
        let mut stream = Vec::new();
        let steps = &self.flow.steps;
        // The last line of each access, by block.
        let mut last: Vec<Vec<u32>> = (0..self.plan.blocks.len() as u32).map(|block| self.first_lines(block)).collect();
        let is_rep: Vec<Vec<bool>> = (0..self.plan.blocks.len() as u32)
            .map(|block| {
                let code = self.flow.code(self.recording, block).iter();
                code.filter(|it| is_access(it)).map(|it| it.is_rep).collect()
            })
            .collect();
        let (mut executed, mut repeated) = (self.accesses.executed.iter(), self.accesses.repeated.iter());
        let mut words: Vec<u32> = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            let index = step.block as usize;
            let (Some(lines), Some(reps), Some(block)) =
                (last.get_mut(index), is_rep.get(index), self.plan.blocks.get(index))
            else {
                continue;
            };
            words.clear();
            for (line, is_rep) in lines.iter_mut().zip(reps) {
                if let Some(now) = executed.next().filter(|now| **now != NO_LINE) {
                    *line = *now;
                }
                let lines = if *is_rep { repeated.next().copied().unwrap_or(0) } else { 0 };
                words.push(lines.min(MAX_REPEATED_LINES) * WORDS_PER_LINE);
            }
            let end = stream.len() + block.record as usize;
            let next = steps.get((at + 1) % steps.len()).map_or(0, |step| step.block);
            for (field, _) in &block.fields {
                match *field {
                    Field::Line { access } => {
                        let line = lines.get(access as usize).copied().unwrap_or(0);
                        stream.extend(self.arena.offset(line).to_le_bytes());
                    }
                    Field::Words { access } => {
                        stream.extend(words.get(access as usize).copied().unwrap_or(0).to_le_bytes());
                    }
                    Field::Target => {
                        let place = self.places.blocks.get(next as usize).copied().unwrap_or(0);
                        stream.extend(place.to_le_bytes());
                    }
                    Field::Stack => {
                        let depth = 8 * step.depth as usize;
                        stream.extend((self.stack.saturating_sub(depth) as u32).to_le_bytes());
                    }
                    Field::Taken { to } => stream.push(u8::from(next == to)),
                    Field::Padding => stream.push(0),
                }
            }
            stream.resize(end.max(stream.len()), 0);
            if stream.len() > MAX_STREAM_BYTES {
                let workload = self.recording.about.workload.clone();
                let (found, bound) = (stream.len() as u64, MAX_STREAM_BYTES as u64);
                return Err(ReplayError::TooLarge { workload, what: "bytes of stream", found, bound });
            }
        }
        Ok(stream)
    }

    /// The line of each access before its first touch: that of its address, or the first of all.
    fn first_lines(&self, block: u32) -> Vec<u32> {
        let fixed = |address: &Address| if let Address::Fixed(line) = address { *line } else { 0 };
        self.addresses.of_block(block).iter().map(fixed).collect()
    }
}
