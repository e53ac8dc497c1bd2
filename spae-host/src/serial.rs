//! A line to a board: a serial device, or the socket that an emulator offers in its place.
//!
//! The board may stop the sender with XOFF and let it go on with XON; both are obeyed here and never seen above. Knows
//! bytes and lines; what they mean is the caller's.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

const XON: u8 = 0x11;
const XOFF: u8 = 0x13;

/// Bytes that leave together: what the smallest receivers hold.
const PIECE: usize = 16;
/// How long a read or a look at the flow control lasts.
const TICK: Duration = Duration::from_millis(20);
/// Longer lines than this are cut: no board says so much at once.
const LONGEST_LINE: usize = 1 << 16;

/// An open line.
pub struct Port {
    name: String,
    writer: Box<dyn Write + Send>,
    lines: Receiver<String>,
    shared: Arc<Shared>,
    /// The time that one byte takes.
    byte_time: Duration,
}

#[derive(Default)]
struct Shared {
    /// The board has sent XOFF.
    paused: AtomicBool,
    /// Nobody reads any more.
    closed: AtomicBool,
}

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Port").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Port {
    /// Opens `name`: `tcp:host:port`, or a serial device at `baud` bits a second, 8N1.
    ///
    /// # Errors
    /// If there is nothing there, or it may not be opened.
    pub fn open(name: &str, baud: u32) -> Result<Self> {
        let (reader, writer): (Box<dyn Read + Send>, Box<dyn Write + Send>) = match name.strip_prefix("tcp:") {
            Some(address) => {
                let stream = TcpStream::connect(address)
                    .with_context(|| format!("cannot reach {name}; does the emulator run and listen there?"))?;
                stream.set_read_timeout(Some(TICK))?;
                stream.set_nodelay(true)?;
                (Box::new(stream.try_clone()?), Box::new(stream))
            }
            None => {
                let port = serialport::new(name, baud).timeout(TICK).open();
                let port = port.with_context(|| format!("cannot open {name}; a port is a device or tcp:host:port"))?;
                (Box::new(port.try_clone()?), Box::new(port))
            }
        };
        let (sender, lines) = mpsc::channel();
        let shared = Arc::new(Shared::default());
        let of_reader = Arc::clone(&shared);
        thread::spawn(move || listen(reader, &sender, &of_reader));
        // A start bit, eight bits, a stop bit.
        let byte_time = Duration::from_secs(10) / baud.max(1);
        Ok(Self { name: name.to_owned(), writer, lines, shared, byte_time })
    }

    /// Sends at most `PIECE` of `bytes`, no faster than the line; how many. Waits up to `patience` while the board
    /// asks to.
    ///
    /// # Errors
    /// If the line is gone, or the board never lets go on.
    pub fn send_piece(&mut self, bytes: &[u8], patience: Duration) -> Result<usize> {
        let start = Instant::now();
        while self.shared.paused.load(Ordering::Acquire) {
            if start.elapsed() > patience {
                bail!("{}: the board has asked to wait and said nothing more for {} s", self.name, patience.as_secs());
            }
            thread::sleep(TICK);
        }
        let piece = &bytes[..bytes.len().min(PIECE)];
        let sent = self.writer.write_all(piece).and_then(|()| self.writer.flush());
        sent.with_context(|| format!("{} is gone", self.name))?;
        thread::sleep(self.byte_time * piece.len() as u32);
        Ok(piece.len())
    }

    /// The next line that came, without its end; `None` after `patience` without one.
    ///
    /// # Errors
    /// If the line is gone.
    pub fn line(&self, patience: Duration) -> Result<Option<String>> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => bail!("{} was closed at the other end", self.name),
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
    }
}

/// Cuts what comes in into lines until the line is gone or nobody listens.
fn listen(mut reader: impl Read, lines: &Sender<String>, shared: &Shared) {
    let mut line = Vec::new();
    let mut bytes = [0; 256];
    while !shared.closed.load(Ordering::Acquire) {
        let count = match reader.read(&mut bytes) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if is_silence(&error) => continue,
            Err(_) => return,
        };
        for &byte in &bytes[..count] {
            match byte {
                XOFF => shared.paused.store(true, Ordering::Release),
                XON => shared.paused.store(false, Ordering::Release),
                b'\n' => {
                    if lines.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                        return;
                    }
                    line.clear();
                }
                b'\r' => {}
                byte if line.len() < LONGEST_LINE => line.push(byte),
                _ => {}
            }
        }
    }
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn lines_come_whole_and_the_sender_obeys_xoff() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("tcp:{}", listener.local_addr().unwrap());
        let board = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"rea\x13dy\r\nnext").unwrap();
            stream
        });
        let mut port = Port::open(&address, 1_000_000).unwrap();
        let mut stream = board.join().unwrap();
        let patience = Duration::from_secs(20);
        assert_eq!(port.line(patience).unwrap().as_deref(), Some("ready"));
        let error = port.send_piece(b"x", Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains("asked to wait"), "{error}");
        stream.write_all(&[XON, b'\n']).unwrap();
        assert_eq!(port.line(patience).unwrap().as_deref(), Some("next"));
        assert_eq!(port.send_piece(&[b'y'; 40], patience).unwrap(), PIECE);
        let mut got = [0; PIECE];
        stream.read_exact(&mut got).unwrap();
        assert_eq!(got, [b'y'; PIECE]);
        drop(stream);
        assert!(port.line(patience).unwrap_err().to_string().contains("closed"));
    }

    #[test]
    fn ports_that_are_not_there_are_named() {
        for name in ["/no/such/device", "tcp:127.0.0.1:1"] {
            let error = format!("{:#}", Port::open(name, 115_200).unwrap_err());
            assert!(error.contains(name), "{error}");
        }
    }
}
