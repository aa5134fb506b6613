//! A binary that is open for reading: everything that its functions are read with.

use super::control::{Program, Reader};
use super::error::AuditError;
use super::functions::Functions;
use super::image::Image;
use super::kernel::Marks;
use super::thunks::Thunks;

/// What a reader of a binary may ask.
pub struct Opened<'p, 'a> {
    /// Bytes and names.
    pub image: &'p Image<'a>,
    /// Functions.
    pub functions: &'p Functions<'a>,
    /// The kernel's own tables.
    pub marks: &'p Marks,
    /// Reads one function.
    pub reader: Reader<'p, 'a>,
}

/// Opens the bytes of a binary; `path` is for messages.
///
/// # Errors
/// If the file is damaged or has no machine code.
pub fn open<R>(
    path: &str,
    bytes: &[u8],
    is_kernel: bool,
    read: impl FnOnce(Opened<'_, '_>) -> R,
) -> Result<R, AuditError> {
    let image = Image::parse(path, bytes, is_kernel)?;
    let marks = Marks::read(&image, bytes);
    let functions = Functions::find(&image, &marks);
    let thunks = Thunks::find(&image);
    let reader = Reader::new(Program { image: &image, functions: &functions, thunks: &thunks, marks: &marks });
    Ok(read(Opened { image: &image, functions: &functions, marks: &marks, reader }))
}
