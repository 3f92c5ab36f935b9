//! The running daemon over real sockets against clients that are wrong, slow, hostile or dead:
//! each is told its number, the daemon stays bounded, and the streams of others stay whole.

mod command_line;
mod conflate;
mod content;
mod daemon;
mod ending;
mod flow;
mod frames;
mod handles;
mod limits;
mod quotas;
mod slow;
mod wire;
mod witness;
