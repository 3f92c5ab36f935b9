//! The running daemon over real sockets against clients that are wrong or hostile: each is told its
//! number, and the streams of others stay whole.

mod content;
mod daemon;
mod frames;
mod handles;
mod wire;
mod witness;
