//! A sender of plain lines at a steady rate, as another process would be: a thread with a socket.

use super::{input, stopwatch::Stopwatch};
use std::{
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    thread::{self, JoinHandle},
    time::Duration,
};

/// How often lines are sent.
const TICK: Duration = Duration::from_millis(1);

/// Listens, and sends lines of the benchmarks' input to the first who connects, at `rate` a second for `duration`. The
/// thread's result is the number of lines.
///
/// # Errors
/// If no port can be bound.
pub fn lines(rate: u64, duration: Duration) -> io::Result<(SocketAddr, JoinHandle<io::Result<u64>>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let file = input::Generator::new(input::SEED).file(rate.clamp(1, 1_000_000) as usize);
    let sender = thread::Builder::new().name("sender".into()).spawn(move || {
        let (mut socket, _) = listener.accept()?;
        send(&mut socket, &file, rate, duration)
    })?;
    Ok((address, sender))
}

fn send(socket: &mut impl Write, file: &[u8], rate: u64, duration: Duration) -> io::Result<u64> {
    let (watch, mut sent) = (Stopwatch::start(), 0u64);
    let in_file = (file.len() / input::BYTES_OF_A_LINE) as u64;
    while watch.elapsed() < duration {
        let due = (watch.elapsed().as_secs_f64() * rate as f64) as u64;
        while sent < due {
            let first = sent % in_file;
            let count = (due - sent).min(in_file - first);
            let bytes =
                first as usize * input::BYTES_OF_A_LINE..(first + count) as usize * input::BYTES_OF_A_LINE;
            socket.write_all(&file[bytes])?;
            sent += count;
        }
        thread::park_timeout(TICK);
    }
    Ok(sent)
}
