//! A Unix socket under its name: with its mode and group from the first moment that it can be had.
//!
//! Belongs to who starts the server. The socket is bound under another name of the same folder,
//! gets group and mode, listens, and only then takes the name; a name that somebody listens on is
//! refused, one that was left behind is replaced. A lock on the folder, held for that long, keeps
//! two daemons from doing it at once. It never removes a name that is no socket, or another's.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
};

/// How often the folder's lock is tried, and the time between two tries.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// What fits into `sun_path` before its closing zero.
const PATH_BYTES_MAX: usize = 107;

/// A name in the file system that belongs to a listening socket of this process.
#[derive(Debug)]
pub struct SocketName {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// A listening socket at `path` that those may connect to whom `mode` and `group` allow.
///
/// # Errors
/// `AddrInUse` if somebody listens there, `AlreadyExists` if there is something that is no socket,
/// `InvalidFilename` if the path is too long for anybody to connect to; else what the system says.
pub fn listen_at(
    path: &Path,
    mode: u32,
    group: Option<u32>,
) -> io::Result<(UnixListener, SocketName)> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // The name aside is shorter than `path` may be, so the system would not refuse it below.
    if UnixAddr::new(path).is_err() {
        let why = format!("a socket's path has {PATH_BYTES_MAX} bytes at most");
        return Err(io::Error::new(io::ErrorKind::InvalidFilename, why));
    }
    // Given back when it is closed, at the end of this function.
    let _lock = lock(folder)?;
    refuse_unless_free(path)?;
    let aside = folder.join(format!(".{:x}", std::process::id()));
    let _ = fs::remove_file(&aside); // left behind by a dead process with this number
    let socket = unbound(SockFlag::empty())?;
    bind(socket.as_raw_fd(), &UnixAddr::new(&aside)?)?;
    let placed = || {
        // Nobody can connect before `listen`, so nobody comes in under the mode of the umask. The
        // group first: a change of owner may take bits of the mode away.
        if group.is_some() {
            lchown(&aside, None, group)?;
        }
        fs::set_permissions(&aside, Permissions::from_mode(mode))?;
        listen(&socket, Backlog::MAXALLOWABLE)?;
        fs::rename(&aside, path)?;
        fs::symlink_metadata(path)
    };
    let placed = placed().inspect_err(|_| {
        let _ = fs::remove_file(&aside);
    })?;
    let name = SocketName { path: path.to_owned(), device: placed.dev(), inode: placed.ino() };
    Ok((UnixListener::from(socket), name))
}

impl SocketName {
    /// The path that was asked for.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the name away, unless it is another socket's by now.
    pub fn remove(&self) {
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|it| (it.dev(), it.ino()) == (self.device, self.inode));
        if is_ours {
            // Gone in this moment is as good.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn unbound(flags: SockFlag) -> nix::Result<OwnedFd> {
    socket(AddressFamily::Unix, SockType::Stream, flags | SockFlag::SOCK_CLOEXEC, None)
}

fn lock(folder: &Path) -> io::Result<File> {
    let file = File::open(folder)?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) => sleep(LOCK_PAUSE),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
    }
    let why = format!("somebody keeps {} locked", folder.display());
    Err(io::Error::new(io::ErrorKind::TimedOut, why))
}

/// Asks whether somebody listens at `path`, without waiting for an answer.
fn refuse_unless_free(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            let why = "there is something else that is no socket";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
        }
        Ok(_) => {}
    }
    let probe = unbound(SockFlag::SOCK_NONBLOCK)?;
    match connect(probe.as_raw_fd(), &UnixAddr::new(path)?) {
        Err(Errno::ECONNREFUSED | Errno::ENOENT) => Ok(()),
        // Whatever else: somebody may listen.
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("deltaworks-unix-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).expect("a folder");
            Self(path)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).expect("a folder");
            let name = |entry: io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
            entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn mode_and_group_are_those_that_were_asked_for() {
        let folder = Folder::new("mode");
        let path = folder.0.join("s");
        let group = nix::unistd::getgid().as_raw();
        for mode in [0o600, 0o660, 0o666, 0o777] {
            let (listener, name) = listen_at(&path, mode, Some(group)).expect("a socket");
            let found = fs::symlink_metadata(&path).expect("its name");
            assert_eq!((found.mode() & 0o7777, found.gid()), (mode, group));
            UnixStream::connect(&path).expect("somebody listens");
            assert_eq!(folder.names(), ["s"], "nothing stays aside");
            name.remove();
            drop(listener);
            assert!(folder.names().is_empty());
        }
    }

    #[test]
    fn a_live_socket_is_refused_and_a_stale_one_replaced() {
        let folder = Folder::new("stale");
        let path = folder.0.join("s");
        let (listener, name) = listen_at(&path, 0o600, None).expect("a socket");
        let live = listen_at(&path, 0o600, None).expect_err("somebody listens");
        assert_eq!(live.kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(path.exists(), "left behind");
        let (_second, of_second) = listen_at(&path, 0o600, None).expect("replaced");
        name.remove();
        assert!(path.exists(), "another's name is left alone");
        UnixStream::connect(&path).expect("the second listens");
        of_second.remove();
        assert!(!path.exists());
    }

    /// A full backlog must not make the question wait: whoever listens may be busy for long.
    #[test]
    fn a_live_socket_with_a_full_backlog_is_refused_at_once() {
        let folder = Folder::new("full");
        let path = folder.0.join("s");
        let full = unbound(SockFlag::empty()).expect("a socket");
        bind(full.as_raw_fd(), &UnixAddr::new(&path).expect("a name")).expect("bound");
        listen(&full, Backlog::new(0).expect("a backlog")).expect("listens");
        let mut waiting = Vec::new();
        loop {
            let client = unbound(SockFlag::SOCK_NONBLOCK).expect("a socket");
            let told = connect(client.as_raw_fd(), &UnixAddr::new(&path).expect("a name"));
            waiting.push(client);
            if told == Err(Errno::EAGAIN) {
                break;
            }
            assert!(waiting.len() < 100, "the backlog is short");
        }
        let busy = listen_at(&path, 0o600, None).expect_err("somebody listens");
        assert_eq!(busy.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_path_that_nobody_could_connect_to_is_refused() {
        let folder = Folder::new("long");
        let of_length = |bytes: usize| {
            let name = bytes - folder.0.as_os_str().len() - 1;
            folder.0.join("x".repeat(name))
        };
        let longest = of_length(PATH_BYTES_MAX);
        let (_listener, name) = listen_at(&longest, 0o600, None).expect("just short enough");
        UnixStream::connect(&longest).expect("somebody listens");
        name.remove();
        let refused = listen_at(&of_length(PATH_BYTES_MAX + 1), 0o600, None).expect_err("too long");
        assert_eq!(refused.kind(), io::ErrorKind::InvalidFilename);
        assert!(folder.names().is_empty());
    }

    #[test]
    fn what_is_no_socket_is_never_touched() {
        let folder = Folder::new("file");
        let path = folder.0.join("s");
        fs::write(&path, "kept").expect("a file");
        let refused = listen_at(&path, 0o600, None).expect_err("a file");
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).expect("a file"), "kept");
        assert_eq!(folder.names(), ["s"]);
    }

    #[test]
    fn a_group_that_may_not_be_given_leaves_nothing_behind() {
        let folder = Folder::new("group");
        let path = folder.0.join("s");
        let (listener, name) = listen_at(&path, 0o600, None).expect("a socket");
        name.remove();
        drop(listener);
        // A name that is a folder cannot be taken by rename, whoever asks.
        fs::create_dir(&path).expect("a folder");
        assert!(listen_at(&path, 0o600, None).is_err());
        assert_eq!(folder.names(), ["s"]);
    }
}
