//! Small files replaced as a whole, and directories made durable up to where they begin.

use crate::{Disk, Error, File};
use std::path::Path;

/// Replaces the file at `path`: a new file beside it, synced, renamed over it, directory synced. Afterwards, whatever
/// happens, the file has either all of the old or all of the new bytes; after `Ok`, the new ones.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let fresh = directory.join(name);
    // Left by a crash; there is one writer per file, so nobody else is at it.
    match disk.remove(&fresh) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("remove", &fresh)(e)),
        _ => {}
    }
    let file = File::create(disk, &fresh, mode)?;
    let written = file.write_at(bytes, 0).and_then(|()| file.sync());
    let named = written.and_then(|()| disk.rename(&fresh, path).map_err(Error::io("rename", &fresh)));
    if let Err(error) = named {
        let _ = disk.remove(&fresh);
        return Err(error);
    }
    disk.sync_dir(directory).map_err(Error::io("sync", directory))
}

/// Creates `path` below `base` (which exists) with all directories between, each synced into its parent. What is there
/// already keeps its mode, and is not synced: whoever made it may have failed in that.
pub fn create_dir_all(disk: &dyn Disk, base: &Path, path: &Path, mode: u32) -> Result<(), Error> {
    if path == base || disk.exists(path).map_err(Error::io("stat", path))? {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        create_dir_all(disk, base, parent, mode)?;
        disk.create_dir(path, mode).map_err(Error::io("create", path))?;
        disk.sync_dir(parent).map_err(Error::io("sync", parent))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::SimulatedDisk;

    #[test]
    fn a_replaced_file_is_old_or_new_after_a_crash_at_any_step() {
        let path = Path::new("/d/state");
        let mut step = 0;
        loop {
            let disk = SimulatedDisk::new();
            disk.create_dir(Path::new("/d"), 0o700).expect("mkdir");
            disk.sync_dir(Path::new("/")).expect("sync");
            replace(&disk, path, b"old", 0o600).expect("first");
            disk.power_off_after(step);
            let done = replace(&disk, path, b"new", 0o600).is_ok();
            for seed in 0..20 {
                let after = disk.reboot(seed);
                let got = File::open(&after, path, false).expect("there").read_all(100).expect("read");
                assert!(got == b"new" || (got == b"old" && !done), "step {step} seed {seed}: {got:?}");
            }
            if done {
                break;
            }
            step += 1;
        }
        assert!(step > 3);
    }
}
