//! Where a server listens, and how a connection to it is made.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A connection's two directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection of any kind.
pub type BoxedStream = Box<dyn Stream>;

/// Makes connections: [`Endpoint`] does, and tests and tunnels can.
pub trait Connector: Send + Sync + 'static {
    /// A new connection.
    ///
    /// # Errors
    /// Why there is none; asked again later if the client may heal.
    fn connect(&self) -> Pin<Box<dyn Future<Output = io::Result<BoxedStream>> + Send + '_>>;
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `host:port`.
    Tcp(String),
    /// A socket's path.
    Unix(PathBuf),
}

impl Connector for Endpoint {
    fn connect(&self) -> Pin<Box<dyn Future<Output = io::Result<BoxedStream>> + Send + '_>> {
        Box::pin(async move {
            Ok(match self {
                Endpoint::Tcp(address) => {
                    let stream = TcpStream::connect(address.as_str()).await?;
                    // Writes are coalesced here; waiting for more would only add delay.
                    stream.set_nodelay(true)?;
                    Box::new(stream) as BoxedStream
                }
                #[cfg(unix)]
                Endpoint::Unix(path) => Box::new(tokio::net::UnixStream::connect(path).await?),
                #[cfg(not(unix))]
                Endpoint::Unix(_) => return Err(io::ErrorKind::Unsupported.into()),
            })
        })
    }
}

/// A text that names no endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointError(String);

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is neither tcp:HOST:PORT nor unix:PATH", self.0)
    }
}

impl std::error::Error for EndpointError {}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Endpoint, EndpointError> {
        match text.split_once(':') {
            Some(("tcp", address)) if address.contains(':') => Ok(Endpoint::Tcp(address.into())),
            Some(("unix", path)) if !path.is_empty() => Ok(Endpoint::Unix(path.into())),
            _ => Err(EndpointError(text.into())),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(address) => write!(f, "tcp:{address}"),
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for text in ["tcp:127.0.0.1:7710", "tcp:[::1]:7710", "tcp:host:1", "unix:/run/d.sock"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        for text in ["", "tcp:", "tcp:host", "unix:", "127.0.0.1:7710", "http:a:1"] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }
}
