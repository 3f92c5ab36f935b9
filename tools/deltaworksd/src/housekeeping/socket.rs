//! The admin socket's file: made so that nobody else can open it at any moment.
//!
//! It is bound in a directory that only the daemon's user may enter, gets its mode and group there,
//! and only then its name. A file that nobody listens to is replaced; one that somebody listens to
//! is not. Removed when the daemon ends.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A bound admin socket.
#[derive(Debug)]
pub(super) struct AdminSocket {
    path: PathBuf,
    listener: UnixListener,
    /// Device and inode of the file, so that another's of the same name is left alone.
    file: (u64, u64),
}

impl AdminSocket {
    /// A socket at `path` with that mode and group; makes the directory that it stands in.
    ///
    /// # Errors
    /// If somebody listens there, or the system refuses a step.
    pub fn bind(path: &Path, mode: u32, group: Option<u32>) -> io::Result<Self> {
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another daemon listens there"));
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        let aside = parent.join(format!(".admin-{}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&aside)?;
        let bound = bind_aside(&aside.join("sock"), path, mode, group);
        let _ = fs::remove_file(aside.join("sock"));
        let _ = fs::remove_dir(&aside);
        let listener = bound?;
        listener.set_nonblocking(true)?;
        let file = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), listener, file: (file.dev(), file.ino()) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The executor's side of it.
    ///
    /// # Errors
    /// If no descriptor is left.
    pub fn listener(&self) -> io::Result<tokio::net::UnixListener> {
        tokio::net::UnixListener::from_std(self.listener.try_clone()?)
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        let is_ours = |file: fs::Metadata| (file.dev(), file.ino()) == self.file;
        if fs::symlink_metadata(&self.path).is_ok_and(is_ours) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn bind_aside(
    aside: &Path,
    path: &Path,
    mode: u32,
    group: Option<u32>,
) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(aside)?;
    if group.is_some() {
        std::os::unix::fs::chown(aside, None, group)?;
    }
    fs::set_permissions(aside, fs::Permissions::from_mode(mode))?;
    fs::rename(aside, path)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> PathBuf {
        let place = std::env::temp_dir().join(format!("admin-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&place);
        place
    }

    #[test]
    fn the_file_has_its_mode_and_goes_with_its_socket() {
        let place = place("mode");
        let path = place.join("below/admin.sock");
        let socket = AdminSocket::bind(&path, 0o600, None).expect("a socket");
        let mode = fs::symlink_metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(fs::read_dir(place.join("below")).expect("a directory").count(), 1);
        UnixStream::connect(&path).expect("it listens");
        let taken = AdminSocket::bind(&path, 0o600, None).expect_err("somebody listens");
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        drop(socket);
        assert!(!path.exists());
        let _ = fs::remove_dir_all(&place);
    }

    #[test]
    fn a_stale_file_is_replaced_and_anothers_is_left_alone() {
        let place = place("stale");
        fs::create_dir(&place).expect("a directory");
        let path = place.join("admin.sock");
        drop(UnixListener::bind(&path).expect("a socket"));
        let first = AdminSocket::bind(&path, 0o600, None).expect("nobody listens");
        fs::remove_file(&path).expect("ours to remove");
        let second = AdminSocket::bind(&path, 0o600, None).expect("a new one");
        drop(first);
        assert!(path.exists(), "the second's file stays");
        drop(second);
        assert!(!path.exists());
        let _ = fs::remove_dir_all(&place);
    }
}
