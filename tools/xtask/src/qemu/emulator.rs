//! A board in the emulator: its UART on pipes, its monitor on a socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rustix::io::ioctl_fionread;

use super::board::Board;

/// Longest silence of a board that is not broken. Emulation is slow, and other work may share the machine.
const PATIENCE: Duration = Duration::from_secs(120);

const XON: u8 = 0x11;
const XOFF: u8 = 0x13;

/// How text is typed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// One to seven bytes at a time with pauses; words are cut anywhere.
    Slow,
    /// As fast as 115,200 baud, pausing when asked to.
    Line,
    /// All at once, whatever the board asks.
    Flood,
}

/// A running board.
#[derive(Debug)]
pub(crate) struct Emulator {
    child: Child,
    input: ChildStdin,
    /// Asked only how much waits in it; a thread reads.
    output: OwnedFd,
    lines: Receiver<String>,
    paused: Arc<AtomicBool>,
    pauses: Arc<AtomicUsize>,
    monitor: UnixStream,
    random: ChaCha8Rng,
    transcript: String,
    _folder: tempfile::TempDir,
}

impl Emulator {
    /// Starts `program` on `board`; `switches` are the emulator's.
    pub(crate) fn start(board: &Board, program: &Path, switches: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir().context("no folder for the emulator's monitor")?;
        let socket = folder.path().join("monitor");
        let mut command = board.emulator();
        let shown = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .args(["-display", "none", "-semihosting", "-serial", "stdio", "-monitor"])
            .arg(format!("unix:{},server=on,wait=off", socket.display()))
            .arg("-kernel")
            .arg(program)
            .args(switches)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {shown}"))?;
        let input = child.stdin.take().context("no pipe to the emulator")?;
        let output = child.stdout.take().context("no pipe from the emulator")?;
        let unread = output.as_fd().try_clone_to_owned()?;
        let (paused, pauses) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (sender, lines) = channel();
        let (flag, count) = (Arc::clone(&paused), Arc::clone(&pauses));
        std::thread::spawn(move || {
            let mut line = Vec::new();
            for byte in BufReader::new(output).bytes().map_while(Result::ok) {
                match byte {
                    XOFF => {
                        flag.store(true, Ordering::SeqCst);
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                    XON => flag.store(false, Ordering::SeqCst),
                    b'\r' => {}
                    b'\n' => {
                        let line = String::from_utf8_lossy(&std::mem::take(&mut line)).into_owned();
                        if sender.send(line).is_err() {
                            return;
                        }
                    }
                    byte => line.push(byte),
                }
            }
        });
        let monitor = connect(&mut child, &socket)?;
        let random = ChaCha8Rng::seed_from_u64(7);
        let transcript = String::new();
        Ok(Self { child, input, output: unread, lines, paused, pauses, monitor, random, transcript, _folder: folder })
    }

    /// Types `bytes`.
    pub(crate) fn type_in(&mut self, mut bytes: &[u8], pace: Pace) -> Result<()> {
        while !bytes.is_empty() {
            let (length, pause) = match pace {
                Pace::Slow => (self.random.random_range(1..8), Duration::from_micros(2000)),
                Pace::Line => (16, Duration::from_micros(1389)),
                Pace::Flood => (bytes.len(), Duration::ZERO),
            };
            if !matches!(pace, Pace::Flood) {
                self.wait_for_line()?;
            }
            let (now, rest) = bytes.split_at(bytes.len().min(length));
            self.input.write_all(now).with_context(|| format!("the board is gone after{}", self.tail()))?;
            self.input.flush()?;
            std::thread::sleep(pause);
            bytes = rest;
        }
        Ok(())
    }

    /// Waits until the board has taken all that was typed, all that it has said is read, and it asks for no pause. A
    /// wire has no such memory as a pipe: without this, a busy host would seem a sender that ignores flow control.
    fn wait_for_line(&self) -> Result<()> {
        let start = Instant::now();
        while ioctl_fionread(&self.input)? > 0
            || ioctl_fionread(&self.output)? > 0
            || self.paused.load(Ordering::SeqCst)
        {
            if start.elapsed() > PATIENCE {
                bail!("the board has stopped reading, after{}", self.tail());
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// The board's lines up to and with the first that starts with `word`.
    pub(crate) fn lines_until(&mut self, word: &str) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        loop {
            let line = match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => bail!("silent instead of \"{word}\" after{}", self.tail()),
                Err(RecvTimeoutError::Disconnected) => bail!("ended instead of \"{word}\" after{}", self.tail()),
            };
            self.transcript.push_str(&line);
            self.transcript.push('\n');
            if line.starts_with("failed") || line.starts_with("panicked") {
                // A panic's message follows on a line of its own.
                self.transcript.extend(self.lines.iter().take(1));
                bail!("it says{}", self.tail());
            }
            let found = line.split(' ').next() == Some(word);
            lines.push(line);
            if found {
                return Ok(lines);
            }
        }
    }

    /// The last lines that the board has said.
    fn tail(&self) -> String {
        let mut lines: Vec<_> = self.transcript.lines().rev().take(8).collect();
        lines.reverse();
        format!("\n{}", lines.join("\n"))
    }

    /// How often the board has asked to pause.
    pub(crate) fn pauses(&self) -> usize {
        self.pauses.load(Ordering::SeqCst)
    }

    /// Saves what the screen shows as a portable pixmap.
    pub(crate) fn photograph(&mut self, path: &Path) -> Result<()> {
        writeln!(self.monitor, "screendump {}", path.display())?;
        let answer = read_prompt(&mut self.monitor)?;
        if answer.contains("rror") {
            bail!("screendump: {}", answer.trim());
        }
        Ok(())
    }

    /// All that the board has said.
    pub(crate) fn transcript(&self) -> &str {
        &self.transcript
    }

    /// Waits for the board's program to end.
    pub(crate) fn wait(&mut self) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if start.elapsed() > PATIENCE {
                bail!("the program does not end");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn connect(child: &mut Child, socket: &Path) -> Result<UnixStream> {
    let start = Instant::now();
    loop {
        match UnixStream::connect(socket) {
            Ok(mut monitor) => {
                monitor.set_read_timeout(Some(PATIENCE))?;
                read_prompt(&mut monitor)?;
                return Ok(monitor);
            }
            Err(error) => {
                if let Some(status) = child.try_wait()? {
                    bail!("the emulator ended at once with {status}");
                }
                if start.elapsed() > PATIENCE {
                    return Err(error).context("the emulator's monitor does not answer");
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

fn read_prompt(monitor: &mut UnixStream) -> Result<String> {
    const PROMPT: &[u8] = b"(qemu) ";
    let mut answer = Vec::new();
    let mut reader = BufReader::with_capacity(1, monitor);
    while !answer.ends_with(PROMPT) {
        let byte = *reader.fill_buf()?.first().context("the emulator's monitor has closed")?;
        reader.consume(1);
        answer.push(byte);
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
