//! The file with the debug information of a binary: itself, or a split file that it names.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use object::{File, Object as _, ObjectSection as _, SectionKind};

use super::storage::Storage;
use crate::audit::names::visible;

/// Where distributions install debug information.
pub(super) const ROOT: &str = "/usr/lib/debug";
/// Shortest build id that is looked up, in bytes; the linker's have 20, and a hash of fewer than 8 is none.
const MIN_BUILD_ID_BYTES: usize = 8;
/// Longest build id, in bytes. It is a part of a path.
const MAX_BUILD_ID_BYTES: usize = 64;

/// A file with debug information.
pub(super) struct Found<'d> {
    pub(super) path: PathBuf,
    pub(super) file: File<'d>,
}

/// Whether a file has debug information itself.
pub(super) fn has_debug_information(file: &File<'_>) -> bool {
    let section = file.section_by_name(".debug_info");
    section.is_some_and(|it| it.size() > 0 && it.kind() != SectionKind::UninitializedData)
}

/// Finds the split file of a binary.
///
/// # Errors
/// Why there is none, in words.
pub(super) fn find<'d>(path: &Path, file: &File<'_>, root: &Path, storage: &'d Storage) -> Result<Found<'d>, String> {
    let build_id = file.build_id().ok().flatten().and_then(|id| by_build_id(root, id).map(|at| (id, at)));
    if let Some((id, at)) = &build_id
        && let Some(found) = open(at, storage).filter(|found| found.file.build_id().is_ok_and(|it| it == Some(id)))
    {
        return Ok(found);
    }
    let advice = "build it with -g, or install its package of debug symbols";
    let Some((name, sum)) = file.gnu_debuglink().ok().flatten() else {
        return Err(match build_id {
            Some((_, at)) => {
                format!("the file has no debug information, and {} is missing; {advice}", at.display())
            }
            None => format!("the file has no debug information; {advice}"),
        });
    };
    let shown = visible(&String::from_utf8_lossy(name));
    // A link names a file; a path would lead anywhere.
    let name = Path::new(OsStr::from_bytes(name));
    if name.file_name() != Some(name.as_os_str()) {
        return Err(format!("the link to the debug information is no name of a file: {shown}"));
    }
    let mut is_of_another_build = false;
    for at in places(path, root).into_iter().map(|folder| folder.join(name)) {
        let Some(bytes) = storage.read(&at) else { continue };
        let mut found_sum = flate2::Crc::new();
        found_sum.update(bytes);
        if found_sum.sum() != sum {
            is_of_another_build = true;
        } else if let Some(file) = parse(bytes) {
            return Ok(Found { path: at, file });
        }
    }
    Err(if is_of_another_build {
        format!("{shown} is the debug information of another build: its checksum differs; build both again")
    } else {
        format!("its debug information is in {shown}, which is missing; put it beside the file, or install its package")
    })
}

/// Finds the file of common parts (`dwz`) that a file with debug information names.
pub(super) fn find_common<'d>(path: &Path, file: &File<'_>, root: &Path, storage: &'d Storage) -> Option<Found<'d>> {
    let (name, id) = file.gnu_debugaltlink().ok().flatten()?;
    let beside = path.parent().unwrap_or(Path::new(".")).join(OsStr::from_bytes(name));
    let found = [Some(beside), by_build_id(root, id)]
        .into_iter()
        .flatten()
        .find_map(|at| open(&at, storage).filter(|found| found.file.build_id().is_ok_and(|it| it == Some(id))));
    found.filter(|found| has_debug_information(&found.file))
}

/// Opens an ELF file.
pub(super) fn open<'d>(path: &Path, storage: &'d Storage) -> Option<Found<'d>> {
    Some(Found { path: path.to_owned(), file: parse(storage.read(path)?)? })
}

fn parse(bytes: &[u8]) -> Option<File<'_>> {
    File::parse(bytes).ok().filter(|file| file.format() == object::BinaryFormat::Elf && file.is_little_endian())
}

/// The path of a build id below a folder: `.build-id/ab/cdef.debug`.
fn by_build_id(root: &Path, id: &[u8]) -> Option<PathBuf> {
    if !(MIN_BUILD_ID_BYTES..=MAX_BUILD_ID_BYTES).contains(&id.len()) {
        return None;
    }
    let digits: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let (first, rest) = digits.split_at_checked(2)?;
    Some(root.join(".build-id").join(first).join(format!("{rest}.debug")))
}

/// The folders that may hold the split file of a binary, as debuggers try them.
fn places(path: &Path, root: &Path) -> Vec<PathBuf> {
    let full = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = full.parent().unwrap_or(Path::new("/")).to_owned();
    let below = root.join(folder.strip_prefix("/").unwrap_or(&folder));
    vec![folder.clone(), folder.join(".debug"), below]
}
