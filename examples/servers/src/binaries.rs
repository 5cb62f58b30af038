//! Finds a server's programs: on PATH, or in the usual folders of Debian.

use std::path::{Path, PathBuf};

use crate::error::Error;

/// The folder that holds all of `programs`, links resolved, so that a server and its tools are of one version.
pub(crate) fn folder_of(programs: &[&'static str]) -> Result<PathBuf, Error> {
    let folders = folders();
    for folder in &folders {
        let Ok(first) = folder.join(programs[0]).canonicalize() else { continue };
        let home = first.parent().unwrap_or(folder).to_path_buf();
        if programs.iter().all(|program| home.join(program).is_file()) {
            return Ok(home);
        }
        if programs.iter().all(|program| folder.join(program).is_file()) {
            return Ok(folder.clone());
        }
    }
    Err(Error::NotFound { binary: programs[0], looked_in: folders })
}

fn folders() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    // Debian keeps PostgreSQL's server out of PATH, one folder a version; the newest first.
    let mut versions: Vec<PathBuf> = Path::new("/usr/lib/postgresql")
        .read_dir()
        .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
        .unwrap_or_default();
    versions.sort();
    folders.extend(versions.into_iter().rev());
    folders.extend(["/usr/bin", "/usr/local/bin", "/usr/sbin", "/opt/homebrew/bin"].map(PathBuf::from));
    folders
}
