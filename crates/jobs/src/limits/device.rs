//! Block devices, as `io.max` wants them named.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use legwork_shim::limits::IoLimit;

/// The line of `io.max` for a limit. The kernel limits whole disks only, so a partition is told as the disk that it is on.
pub(super) fn of(limit: &IoLimit) -> Result<String, String> {
    let path = Path::new(limit.path.as_os_str());
    let found = fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let device = if found.file_type().is_block_device() {
        found.rdev()
    } else {
        found.dev()
    };
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let none = || format!("{} is not on a block device", path.display());
    let known = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).map_err(|_| none())?;
    let disk = if known.join("partition").exists() {
        known.parent().ok_or_else(none)?
    } else {
        &known
    };
    let number = fs::read_to_string(disk.join("dev")).map_err(|_| none())?;
    let rates = [
        ("rbps", limit.read_bps),
        ("wbps", limit.write_bps),
        ("riops", limit.read_iops),
        ("wiops", limit.write_iops),
    ];
    let rates = rates
        .iter()
        .filter_map(|(name, rate)| Some(format!(" {name}={}", (*rate)?)));
    Ok(number.trim().to_owned() + &rates.collect::<String>())
}
