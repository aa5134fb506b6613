//! The cause of an event: what else changed where the numbers did.

use super::event::Cause;

/// What is known of a step beside its numbers.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Cells that moved, and whose instructions changed.
    pub instructions: usize,
    /// Cells that moved, and whose bytes changed.
    pub code: usize,
    /// Cells that moved.
    pub cells: usize,
    /// Whether the runs tell the identity of bytes.
    pub knows_code: bool,
    /// Largest move of the references over the regimes, as a share of their time, with the regime; if it is beyond
    /// what they scatter.
    pub reference: Option<(String, f64)>,
    /// What the headers of the two runs differ in: name, before, after.
    pub header: Vec<(String, String, String)>,
    /// What the calibration differs in, in words.
    pub calibration: Vec<String>,
}

/// Facts of the header that are of the machine, and not of the program.
const OF_THE_MACHINE: [&str; 3] = ["microcode", "kernel", "mitigations"];

/// Returns the cause, and the observations that it follows from.
#[must_use]
pub fn find_cause(evidence: &Evidence) -> (Cause, Vec<String>) {
    let mut reasons = Vec::new();
    let of = |count: usize| format!("{count} of {} cells", evidence.cells);
    if evidence.instructions > 0 {
        reasons.push(format!("executed instructions changed in {}", of(evidence.instructions)));
    } else {
        reasons.push("executed instructions did not change".to_owned());
    }
    if evidence.knows_code {
        reasons.push(if evidence.code > 0 {
            format!("bytes of loop or body changed in {}", of(evidence.code))
        } else {
            "the bytes of loops and bodies did not change".to_owned()
        });
    } else {
        reasons.push("the runs do not tell whether bytes changed".to_owned());
    }
    match &evidence.reference {
        Some((regime, share)) => {
            reasons.push(format!("the references moved as well: inline by {:+.2}% in {regime}", 100.0 * share));
        }
        None => reasons.push("the references did not move".to_owned()),
    }
    for (name, before, after) in &evidence.header {
        reasons.push(match name.as_str() {
            "mitigations" => "the mitigations of the kernel differ".to_owned(),
            _ => format!("{name} changed from {before} to {after}"),
        });
    }
    reasons.extend(evidence.calibration.iter().cloned());
    let machine = evidence.reference.is_some()
        || !evidence.calibration.is_empty()
        || evidence.header.iter().any(|it| OF_THE_MACHINE.contains(&it.0.as_str()));
    let cause = if evidence.instructions > 0 {
        Cause::Program
    } else if 2 * evidence.code >= evidence.cells && evidence.code > 0 {
        Cause::Placement
    } else if machine {
        Cause::Machine
    } else {
        Cause::Unknown
    };
    (cause, reasons)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_instructions_make_it_the_program() {
        let moved = Evidence { cells: 12, knows_code: true, ..Evidence::default() };
        assert_eq!(find_cause(&moved).0, Cause::Unknown);
        let machine = Evidence { reference: Some(("throughput".into(), 0.02)), ..moved.clone() };
        assert_eq!(find_cause(&machine).0, Cause::Machine);
        let kernel = ("kernel".to_owned(), "6.1".to_owned(), "6.18".to_owned());
        assert_eq!(find_cause(&Evidence { header: vec![kernel], ..moved.clone() }).0, Cause::Machine);
        let rustc = ("rustc".to_owned(), "1.95".to_owned(), "1.96".to_owned());
        assert_eq!(find_cause(&Evidence { header: vec![rustc], ..moved.clone() }).0, Cause::Unknown);
        assert_eq!(find_cause(&Evidence { code: 12, ..machine.clone() }).0, Cause::Placement);
        assert_eq!(find_cause(&Evidence { code: 3, ..machine.clone() }).0, Cause::Machine);
        assert_eq!(find_cause(&Evidence { instructions: 1, ..machine }).0, Cause::Program);
    }
}
