//! The admin socket's file: made so that nobody else can open it at any moment.
//!
//! Bound as the sockets of clients are, in a folder that is made for the daemon's user alone if it is
//! not there. A file that nobody listens to is replaced; one that somebody listens to, or that is no
//! socket, is not. Removed when the daemon ends.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use deltaworks_server::unix_socket::{SocketName, listen_at};

/// A bound admin socket.
#[derive(Debug)]
pub(super) struct AdminSocket {
    name: SocketName,
    listener: UnixListener,
}

impl AdminSocket {
    /// A socket at `path` with that mode and group; makes the directory that it stands in.
    ///
    /// # Errors
    /// If somebody listens there, there is something that is no socket, or the system refuses a step.
    pub fn bind(path: &Path, mode: u32, group: Option<u32>) -> io::Result<Self> {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        let (listener, name) = listen_at(path, mode, group)?;
        listener.set_nonblocking(true)?;
        Ok(Self { name, listener })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.name.path()
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
        self.name.remove();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;
    use std::path::PathBuf;

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

    #[test]
    fn what_is_no_socket_is_never_replaced() {
        let place = place("file");
        fs::create_dir(&place).expect("a directory");
        let path = place.join("deltaworksd.toml");
        fs::write(&path, "kept").expect("a file");
        AdminSocket::bind(&path, 0o600, None).expect_err("a file");
        assert_eq!(fs::read_to_string(&path).expect("a file"), "kept");
        let _ = fs::remove_dir_all(&place);
    }
}
