//! Rarely executed parts of functions in binaries without symbols.
//!
//! Compilers move such parts away (`name.cold`). Without its name, such a part looks like a function that another one
//! ends with. But nothing calls it, and only one function jumps to it: a function that is used so is inlined.

use rustc_hash::{FxHashMap, FxHashSet};

use super::control::{Control, RawSite, Target};
use super::functions::Functions;
use super::kind::Kind;

/// Removes jumps to parts of the same function from the sites. `controls` has an entry for each function.
pub fn remove_jumps_to_parts(functions: &Functions, controls: &mut [Control]) {
    let is_unnamed = |address: u64| functions.at(address).is_some_and(|function| function.symbol.is_none());
    let mut called = FxHashSet::default();
    // The function that jumps to an address; `None` if several do.
    let mut sources: FxHashMap<u64, Option<usize>> = FxHashMap::default();
    for (index, control) in controls.iter().enumerate() {
        for site in &control.sites {
            match site.target {
                Target::Code(address) if !site.is_tail => {
                    called.insert(address);
                }
                Target::Code(address) if is_jump(site) && is_unnamed(address) => {
                    let source = sources.entry(address).or_insert(Some(index));
                    *source = source.filter(|source| *source == index);
                }
                _ => {}
            }
        }
    }
    sources.retain(|address, source| source.is_some() && !called.contains(address));
    if sources.is_empty() {
        return;
    }
    for control in controls {
        control.sites.retain(|site| {
            !is_jump(site) || !matches!(site.target, Target::Code(address) if sources.contains_key(&address))
        });
    }
}

fn is_jump(site: &RawSite) -> bool {
    site.is_tail && site.kind == Kind::Direct
}
