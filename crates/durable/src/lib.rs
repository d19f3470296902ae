//! Files that survive `kill -9` and power cuts, and the promises made of them (docs: promises 1 and 2).
//!
//! Durable means: write, sync the file, name it, sync the directory, and only then say so. This crate has the steps
//! once, in one place:
//! - [`Disk`] and [`DiskFile`]: the few file-system calls that storage code may use. [`OsDisk`] makes them; the tests
//!   put a disk in memory there that loses power at any step (`simulated`).
//! - [`File`]: one file with one writer. After a failed write or sync it is poisoned: the kernel drops the pages of a
//!   failed sync and reports success the next time, so a second sync would promise what is not there.
//! - [`replace`]: a small file replaced as a whole.
//! - [`Committer`]: a thread that makes what many sessions hand in durable together. It takes what waits as one batch
//!   and never lingers for more: while it syncs, the next batch gathers by itself.
//!
//! Everything here blocks, except [`Committer::submit`]. Nothing of it belongs on a runtime's worker thread.

mod committer;
mod disk;
mod error;
mod file;
mod replace;
#[cfg(any(test, feature = "simulated"))]
pub mod simulated;

pub use committer::{Batch, Committer};
pub use disk::{Disk, DiskFile, Entry, FileSystem, OsDisk};
pub use error::Error;
pub use file::File;
pub use replace::{create_dir_all, replace};
