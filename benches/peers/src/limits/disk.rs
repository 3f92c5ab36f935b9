//! The disk: how often a second a written block is on it for sure, one after the other.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use serde_json::json;

use super::Measured;

/// Blocks of the file, written over and over: a log that is laid out beforehand.
const BLOCKS: u64 = 64;

/// Writes of `bytes` that were synced in a second, in the folder of this program: temporary files
/// may lie in memory.
pub fn syncs(bytes: usize, time: Duration) -> Measured {
    let told = |error: std::io::Error| error.to_string();
    let folder = std::env::current_exe().map_err(told)?.with_file_name("disk");
    fs::create_dir_all(&folder).map_err(told)?;
    let path = folder.join(format!("sync-{}", std::process::id()));
    let measured = (|| {
        let mut file =
            fs::File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
        file.write_all(&vec![0; bytes * BLOCKS as usize])?;
        file.sync_all()?;
        let block = vec![7; bytes];
        let (began, mut count) = (Instant::now(), 0);
        while began.elapsed() < time {
            file.write_all_at(&block, count % BLOCKS * bytes as u64)?;
            file.sync_data()?;
            count += 1;
        }
        let seconds = began.elapsed().as_secs_f64();
        let mut read = vec![0; bytes];
        file.read_exact_at(&mut read, 0)?;
        Ok((count, seconds, read == block))
    })();
    let _ = fs::remove_file(&path);
    let (count, seconds, is_there) = measured.map_err(told)?;
    if !is_there {
        return Err("what was written is not there".to_owned());
    }
    Ok((count as f64 / seconds, seconds, json!({"sync_us": seconds * 1e6 / count as f64})))
}
