//! Senders of lines, as plain code on threads: what a source talks to.

use super::support::{DEADLINE, clock, wait};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread::JoinHandle,
    time::Duration,
};

/// A listener on a port of its own, and its address.
pub fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A port that nobody listened on a moment ago.
pub fn free_address() -> SocketAddr {
    listen().1
}

/// Accepts one connection; it does not wait for ever afterwards.
pub fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Connects to a listener that may not be there yet.
pub fn connect(address: SocketAddr) -> TcpStream {
    let (clock, mut last) = (clock(), None);
    let until = clock.now() + DEADLINE;
    while clock.now() < until {
        match TcpStream::connect(address) {
            Ok(stream) => return stream,
            Err(error) => last = Some(error),
        }
        wait(clock.sleep(Duration::from_millis(2)));
    }
    panic!("nobody listens on {address} after {DEADLINE:?}: {last:?}");
}

/// Reads until the peer has closed.
pub fn wait_for_close(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    // A reset is an end as well.
    let _ = stream.read_to_end(&mut rest);
}

/// Sends each text over a connection of its own; closes all but the last, which it leaves to the receiver.
pub fn serve(listener: TcpListener, texts: Vec<Vec<u8>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let last = texts.len() - 1;
        for (number, text) in texts.into_iter().enumerate() {
            let mut stream = accept(&listener);
            stream.write_all(&text).unwrap();
            if number == last {
                wait_for_close(&mut stream);
            }
        }
    })
}

/// A sender of numbered lines that keeps what was not acknowledged, and insists that nothing else is asked for.
pub struct NumberedSender {
    lines: Vec<String>,
    /// The highest number that was told to be safe.
    pub safe: Option<u64>,
    /// What each connection asked to go on after.
    pub resumed: Vec<Option<u64>>,
}

impl NumberedSender {
    pub fn new(lines: Vec<String>) -> Self {
        NumberedSender { lines, safe: None, resumed: Vec::new() }
    }

    /// Serves one connection: sends the lines below `to`, waits until those below `safe_to` are told to be safe, and closes.
    pub fn serve(&mut self, listener: &TcpListener, to: usize, safe_to: usize) {
        let (mut stream, mut said) = self.open(listener);
        self.send(&mut stream, to);
        while self.safe.map_or(0, |safe| safe + 1) < safe_to as u64 {
            self.hear(&mut said);
        }
    }

    /// Serves one connection to the end of the lines.
    pub fn serve_to_the_end(&mut self, listener: &TcpListener) {
        let (mut stream, mut said) = self.open(listener);
        self.send(&mut stream, self.lines.len());
        stream.write_all(b"END\n").unwrap();
        while self.safe.map_or(0, |safe| safe + 1) < self.lines.len() as u64 {
            self.hear(&mut said);
        }
        wait_for_close(&mut stream);
    }

    fn open(&mut self, listener: &TcpListener) -> (TcpStream, BufReader<TcpStream>) {
        let stream = accept(listener);
        let mut said = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let after = line.trim_end().strip_prefix("RESUME ").expect("the first word is RESUME");
        let after: Option<u64> = (after != "-").then(|| after.parse().unwrap());
        assert!(after >= self.safe, "{after:?} is asked for, but all up to {:?} was acknowledged", self.safe);
        self.resumed.push(after);
        (stream, said)
    }

    fn send(&self, stream: &mut TcpStream, to: usize) {
        let from = self.resumed.last().copied().flatten().map_or(0, |after| after as usize + 1);
        let mut text = Vec::new();
        for number in from..to {
            writeln!(text, "{number}\t{}", self.lines[number]).unwrap();
        }
        stream.write_all(&text).unwrap();
    }

    fn hear(&mut self, said: &mut BufReader<TcpStream>) {
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let safe = line.trim_end().strip_prefix("SAFE ").expect("after RESUME only SAFE is said");
        self.safe = Some(safe.parse().unwrap());
    }
}
