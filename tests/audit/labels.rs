//! What the name of a function tells of its call sites, and how far an audit agrees.

use std::collections::BTreeMap;
use std::fmt::Write;

use pvbench::audit::document::{Function, Site};
use pvbench::audit::kind::Kind;

use super::builds::Effects;

/// The mechanisms of a function's sites, from its name.
#[derive(Clone, Debug)]
pub struct Label {
    tokens: Vec<String>,
    /// Whether the compiler's options change the machine code of the sites (not so in assembly).
    is_compiled: bool,
    /// Whether the sites may be in functions of the library.
    is_optional: bool,
}

impl Label {
    /// The label of a function; `None` for a function that is no part of the corpus. The rarely executed part of a
    /// function has the name of the whole, and may lack any of its sites.
    pub fn of(name: &str) -> Option<Label> {
        let (prefix, rest) = name.split_once('_')?;
        if !matches!(prefix, "s" | "o" | "a") {
            return None;
        }
        let (tokens, _) = rest.split_once("__")?;
        Some(Label {
            tokens: tokens.split('_').map(str::to_owned).collect(),
            is_compiled: prefix != "a",
            is_optional: prefix == "o" || name.contains(".cold"),
        })
    }

    /// The kinds that a token allows in a build.
    fn kinds_of(&self, token: &str, effects: &Effects) -> Vec<Kind> {
        let linked = match effects {
            Effects { is_rust: true, .. } => vec![Kind::Got, Kind::Plt, Kind::Direct],
            Effects { retpolines: true, no_plt: true, .. } => vec![Kind::Retpoline],
            Effects { no_plt: true, .. } => vec![Kind::Got],
            Effects { large: true, .. } => vec![Kind::Register],
            Effects { is_object: true, .. } => vec![Kind::Direct],
            Effects { is_static: true, .. } => vec![Kind::Direct, Kind::Plt],
            _ => vec![Kind::Plt],
        };
        let plain = match token {
            "direct" if effects.large && self.is_compiled => vec![Kind::Register],
            // Linked later, perhaps with another library.
            "direct" if effects.is_shared || effects.is_object && effects.no_plt => {
                [vec![Kind::Direct], linked].concat()
            }
            "direct" => vec![Kind::Direct],
            "dynamic" => [vec![Kind::Direct], linked].concat(),
            "ext" => linked,
            "mem" => vec![Kind::Memory],
            "tab" => vec![Kind::Table],
            "virt" => vec![Kind::Virtual],
            "reg" => vec![Kind::Register],
            "jt" => vec![Kind::JumpTable],
            "unk" => vec![Kind::Unknown],
            "none" => Vec::new(),
            other => panic!("no kind has the label {other}"),
        };
        let is_indirect = matches!(token, "mem" | "tab" | "virt" | "reg" | "jt" | "unk");
        if is_indirect && effects.retpolines && self.is_compiled { vec![Kind::Retpoline] } else { plain }
    }

    /// The token that allows a site. What has the name of a target is called directly, whatever the function is for.
    fn token_of(&self, site: &Site, effects: &Effects) -> Option<&str> {
        let calls_target = site.target.as_deref().is_some_and(|target| target.starts_with("t_"));
        let named = calls_target.then_some("direct");
        let mut tokens = self.tokens.iter().map(String::as_str).chain(named);
        tokens.find(|token| self.kinds_of(token, effects).contains(&site.kind))
    }
}

/// The call sites by label (row) and kind (column), and the sites that are wrong.
#[derive(Default)]
pub struct Confusion {
    table: BTreeMap<String, BTreeMap<Kind, u64>>,
    pub sites: u64,
    pub wrong: Vec<String>,
    /// Direct instructions with an indirect kind, and indirect ones with a direct kind.
    pub swapped: Vec<String>,
    /// Functions without a site of their first label.
    pub missing: Vec<String>,
}

/// Whether a site's instruction has its target in itself.
fn is_direct_instruction(site: &Site) -> bool {
    let operand = site.instruction.split_whitespace().last().unwrap_or_default();
    operand.starts_with("0x") || operand.bytes().all(|byte| byte.is_ascii_digit())
}

/// Kinds that only an instruction with its target in itself can have, and kinds that only another one can have.
fn needs_direct_instruction(kind: Kind) -> Option<bool> {
    match kind {
        Kind::Direct | Kind::Plt | Kind::StaticCall | Kind::ReturnThunk => Some(true),
        Kind::Got | Kind::Memory | Kind::Table | Kind::Virtual | Kind::Register | Kind::Unknown => Some(false),
        _ => None,
    }
}

impl Confusion {
    /// Adds the sites of a function by its label.
    pub fn add(&mut self, build: &str, effects: &Effects, function: &Function, label: &Label, sites: &[&Site]) {
        let mut is_there = false;
        let first = label.kinds_of(&label.tokens[0], effects);
        for site in sites {
            let shown = || {
                let Site { address, kind, instruction, target, .. } = site;
                format!("{build}: {} at {address:#x}: {kind:?} {instruction} {target:?}", function.name)
            };
            if needs_direct_instruction(site.kind).is_some_and(|direct| direct != is_direct_instruction(site)) {
                self.swapped.push(shown());
            }
            is_there |= first.contains(&site.kind);
            let token = label.token_of(site, effects);
            let allowed = token.is_some();
            let row = token.unwrap_or(&label.tokens[0]).to_owned();
            if matches!(site.kind, Kind::Fentry | Kind::ReturnThunk | Kind::Thunk) || !allowed && is_support(site) {
                continue;
            }
            self.sites += 1;
            *self.table.entry(row).or_default().entry(site.kind).or_default() += 1;
            if !allowed {
                self.wrong.push(shown());
            }
        }
        let has_no_table = effects.retpolines && label.tokens[0] == "jt";
        if !is_there && !first.is_empty() && !label.is_optional && !has_no_table {
            self.missing.push(format!("{build}: {} {:?}", function.name, label.tokens[0]));
        }
    }

    /// The share of sites that are right.
    pub fn right(&self) -> f64 {
        1.0 - self.wrong.len() as f64 / self.sites.max(1) as f64
    }

    /// Sites with a label and a kind.
    pub fn count(&self, label: &str, kind: Kind) -> u64 {
        self.table.get(label).and_then(|row| row.get(&kind)).copied().unwrap_or(0)
    }

    /// The table for people.
    pub fn table(&self) -> String {
        let kinds: Vec<Kind> =
            Kind::ALL.into_iter().filter(|kind| self.table.values().any(|row| row.contains_key(kind))).collect();
        let mut text = format!("{:<10}", "label");
        for kind in &kinds {
            let _ = write!(text, "{:>12}", kind.name());
        }
        for (label, row) in &self.table {
            let _ = write!(text, "\n{label:<10}");
            for kind in &kinds {
                let _ = write!(text, "{:>12}", row.get(kind).map_or(String::from("."), u64::to_string));
            }
        }
        format!("{text}\n{} of {} sites are right", self.sites - self.wrong.len() as u64, self.sites)
    }
}

/// Whether a site calls what the compiler added: a check of the stack, a panic, a function of the library that it did
/// not inline.
fn is_support(site: &Site) -> bool {
    let target = site.target.as_deref().unwrap_or_default();
    let is_own = ["t_", "s_", "a_", "o_"].iter().any(|prefix| target.starts_with(prefix));
    matches!(site.kind, Kind::Direct | Kind::Plt | Kind::Got) && !is_own && !target.is_empty()
}
