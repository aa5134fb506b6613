//! Names that the runs of a history share, so that a thousand runs have each of them in memory once.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use super::kept::{CellName, KernelName};
use crate::op::InstructionMix;

/// Shared names. Use one for all runs that are read together.
#[derive(Debug, Default)]
pub struct Names {
    texts: HashSet<Arc<str>>,
    cells: HashSet<Arc<CellName>>,
    kernels: HashSet<Arc<KernelName>>,
    mixes: HashMap<[u64; InstructionMix::CLASSES], Arc<InstructionMix>>,
}

impl Names {
    /// The shared copy of a text.
    pub fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return known.clone();
        }
        let text: Arc<str> = text.into();
        self.texts.insert(text.clone());
        text
    }

    /// The shared copy of a cell's name.
    pub fn cell(&mut self, name: CellName) -> Arc<CellName> {
        shared(&mut self.cells, name)
    }

    /// The shared copy of a kernel's name.
    pub fn kernel(&mut self, name: KernelName) -> Arc<KernelName> {
        shared(&mut self.kernels, name)
    }

    /// The shared copy of an instruction mix.
    pub(super) fn mix(&mut self, mix: &InstructionMix) -> Arc<InstructionMix> {
        self.mixes.entry(mix.values().map(f64::to_bits)).or_insert_with(|| Arc::new(*mix)).clone()
    }
}

fn shared<T: Hash + Eq>(known: &mut HashSet<Arc<T>>, name: T) -> Arc<T> {
    if let Some(known) = known.get(&name) {
        return known.clone();
    }
    let name = Arc::new(name);
    known.insert(name.clone());
    name
}
