//! What the HDF5 library tells of its errors.

use anyhow::anyhow;
use tracing::debug;

/// The last error of the library; where that is one of the operating system, it is the cause, else the innermost of its
/// frames, and the three innermost are logged.
pub fn failure() -> anyhow::Error {
    let error = match hdf5::Error::query() {
        Ok(error) | Err(error) => error,
    };
    let Some(stack) = error.stack() else {
        return anyhow!("HDF5: {error}");
    };
    let mut told: Vec<_> = stack.iter().map(|f| f.desc().to_string()).collect();
    if let Some((frame, cause)) = told
        .iter()
        .find_map(|frame| Some((frame, os_error(frame)?)))
    {
        let what = frame.split([':', ',']).next().unwrap_or_default();
        return anyhow::Error::from(cause).context(format!("HDF5: {what}"));
    }
    told.dedup();
    told.reverse();
    told.truncate(3);
    debug!("HDF5: {}", told.join(": "));
    match told.first() {
        Some(cause) if cause.contains("already open for write") => anyhow!(
            "HDF5: {cause}: a program writes to the file, or was ended while it did; copy the file and clear the mark in \
             the copy with h5clear -s"
        ),
        Some(cause) => anyhow!("HDF5: {cause}; --debug tells more"),
        None => anyhow!("HDF5: unknown error"),
    }
}

/// The number that the library's file driver puts into its text, among addresses and times.
fn os_error(frame: &str) -> Option<std::io::Error> {
    let (number, _) = frame.split_once("errno = ")?.1.split_once(',')?;
    Some(std::io::Error::from_raw_os_error(number.parse().ok()?))
}
