//! Sessions on TCP and Unix sockets.
