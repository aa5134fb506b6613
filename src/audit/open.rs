//! Opens a binary: everything that its functions are read with.

use super::control::Program;
use super::error::AuditError;
use super::functions::Functions;
use super::image::Image;
use super::kernel::Marks;
use super::thunks::Thunks;

/// Opens the bytes of a binary and hands the program to `read`; `path` is for messages.
///
/// # Errors
/// If the file is damaged or has no machine code.
pub fn open<R>(
    path: &str,
    bytes: &[u8],
    is_kernel: bool,
    read: impl FnOnce(Program<'_, '_>) -> R,
) -> Result<R, AuditError> {
    let image = Image::parse(path, bytes, is_kernel)?;
    let marks = Marks::read(&image, bytes);
    let functions = Functions::find(&image, &marks);
    let thunks = Thunks::find(&image);
    Ok(read(Program { image: &image, functions: &functions, thunks: &thunks, marks: &marks }))
}
