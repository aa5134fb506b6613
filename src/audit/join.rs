//! Joins the counts of an execution with the call sites of its binary.

use std::path::{Path, PathBuf};

use object::{Object as _, ObjectSegment as _};

use super::branch_records::{Binary, Segment};
use super::counts::{self, CountFileError, Measured};
use super::error::AuditError;
use super::execution::{CountOrigin, CountSource, Exactness, Execution, SCHEMA};
use super::image::Image;
use super::input::Input;
use super::lines::{Lines, Storage};
use super::open::open;
use super::site_counts::{Joined, collect};

/// Why a run and a binary cannot be joined.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The binary cannot be audited.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The counts cannot be read.
    #[error(transparent)]
    Counts(#[from] CountFileError),
    /// The counts are of another build.
    #[error(
        "{}: {calls} of the {all} instructions that made calls are no branches in {binary}: it is not the build that \
         ran; run the program again", counts.display()
    )]
    OtherBuild {
        /// The file of counts.
        counts: PathBuf,
        /// The binary.
        binary: String,
        /// Addresses of calls that are none in the binary.
        calls: usize,
        /// All addresses of calls.
        all: usize,
    },
    /// The counts are of other source lines.
    #[error(
        "{}: no call site of {binary} is on a line or in a function that was counted; counted are {files}{}",
        counts.display(),
        match reason {
            Some(reason) => format!("; there are no source lines: {reason}; build with -g"),
            None => "; name the program of these files, built with -g".to_owned(),
        }
    )]
    OtherSources {
        /// The file of counts.
        counts: PathBuf,
        /// The binary.
        binary: String,
        /// Some of the counted files.
        files: String,
        /// Why the binary has no source lines.
        reason: Option<String>,
    },
    /// The file is an archive.
    #[error("{0}: an archive does not run; name the program that was linked from it")]
    Archive(String),
}

/// Share of calling instructions that may be no branch of the binary: code that falls through into the next function,
/// and code that is written at run time. Of another build, three of four are none; at half or twice the share, both
/// sides are still far from it.
const MAX_UNKNOWN_SHARE: f64 = 0.1;

/// Joins a file of counts with a binary. Costs are not in it yet.
///
/// # Errors
/// If a file cannot be read, or the counts are of another build.
pub fn join(binary: &Path, counts: &Path) -> Result<Execution, JoinError> {
    let input = Input::read(binary)?;
    if input.is_archive() {
        return Err(JoinError::Archive(binary.display().to_string()));
    }
    let Some((name, bytes)) = input.binaries().next() else {
        return Err(JoinError::Archive(binary.display().to_string()));
    };
    open(name, bytes, input.is_unpacked_kernel, |program| {
        let measured = counts::read(counts, &describe(binary, program.image))?;
        let (storage, image) = (Storage::default(), program.image);
        let bases = |index| image.section_base(index);
        let parsed = object::File::parse(image.elf.data()).ok();
        let lines = parsed.as_ref().map(|file| Lines::open(binary, file, &bases, &storage));
        let joined = collect(program, &measured, lines.as_ref().and_then(|lines| lines.as_ref().ok()));
        if let (Measured::Lines(counted), 0) = (&measured, joined.known) {
            let reason = lines.and_then(Result::err).map(|reason| reason.to_string());
            let (binary, files) = (name.to_owned(), counted.some_files());
            return Err(JoinError::OtherSources { counts: counts.to_owned(), binary, files, reason });
        }
        let (calls, all) = (joined.all - joined.known, joined.all);
        if calls as f64 > MAX_UNKNOWN_SHARE * all as f64 {
            return Err(JoinError::OtherBuild { counts: counts.to_owned(), binary: name.to_owned(), calls, all });
        }
        Ok(document(name, &measured, joined))
    })?
}

/// What readers of counts need of a binary.
fn describe<'a>(path: &'a Path, image: &Image<'_>) -> Binary<'a> {
    let segments = image.elf.segments().map(|segment| {
        let (offset, bytes) = segment.file_range();
        Segment { offsets: offset..offset.saturating_add(bytes), address: segment.address() }
    });
    let id = image.elf.build_id().ok().flatten();
    let build_id = id.map(|id| id.iter().map(|byte| format!("{byte:02x}")).collect());
    Binary { path, build_id, segments: segments.collect() }
}

fn document(path: &str, measured: &Measured, joined: Joined) -> Execution {
    let counts = |source, exactness| CountOrigin {
        source,
        exactness,
        records: None,
        branches_per_record: None,
        no_scale_reason: None,
        uncounted_sites: None,
    };
    let (mut instructions, mut own_instructions) = (None, None);
    let counts = match measured {
        Measured::Executed(executed) => {
            instructions = Some(executed.instructions.max(executed.own_instructions));
            own_instructions = Some(executed.own_instructions);
            counts(CountSource::Callgrind, Exactness::Exact)
        }
        Measured::Records(records) => {
            let scale = records.branches_per_record.as_ref();
            let exactness = if scale.is_ok() { Exactness::Sampled } else { Exactness::SampledShares };
            CountOrigin {
                records: Some(records.total),
                branches_per_record: scale.ok().copied(),
                no_scale_reason: scale.err().map(ToString::to_string),
                ..counts(CountSource::BranchRecords, exactness)
            }
        }
        Measured::Lines(lines) => {
            CountOrigin { uncounted_sites: Some(joined.uncounted), ..counts(lines.source, Exactness::ByLine) }
        }
    };
    Execution {
        schema: SCHEMA.to_owned(),
        path: path.to_owned(),
        counts,
        instructions,
        own_instructions,
        cpu_seconds: None,
        cpu_cycles: None,
        no_cost_reason: None,
        kinds: joined.kinds,
        cycles: None,
        percent: None,
        sites: joined.sites,
    }
}
