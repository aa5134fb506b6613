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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::document::FunctionSource;
    use crate::audit::functions::FunctionRange;

    fn range(start: u64, symbol: Option<&'static str>) -> FunctionRange<'static> {
        FunctionRange { range: start..start + 16, symbol, aliases: Vec::new(), parent: None }
    }

    fn site(address: u64, is_tail: bool, target: u64) -> RawSite {
        RawSite { address, length: 5, kind: Kind::Direct, is_tail, target: Target::Code(target) }
    }

    #[test]
    fn only_what_one_function_jumps_to_and_nothing_calls_is_a_part() {
        let list = vec![range(0, None), range(16, None), range(32, None), range(48, Some("named")), range(64, None)];
        let functions = Functions { list, source: FunctionSource::UnwindTables };
        let mut controls = vec![Control::default(); 5];
        // To a part; to a function that is called; to a function with a name; to a function that two jump to.
        controls[0].sites = vec![site(1, true, 16), site(6, true, 32), site(10, true, 48), site(15, true, 64)];
        controls[3].sites = vec![site(48, false, 32), site(53, true, 64)];
        remove_jumps_to_parts(&functions, &mut controls);
        let left: Vec<u64> = controls[0].sites.iter().map(|site| site.address).collect();
        assert_eq!(left, [6, 10, 15]);
        assert_eq!(controls[3].sites.len(), 2);
    }
}
