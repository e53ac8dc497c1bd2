//! Known sets of pictures: which files they have, how to get them from a place that the user names, whether they are
//! whole. What is checked is the unpacked content, so it does not matter how a place has packed it.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use flate2::read::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use crate::tensor_file;

/// A set that is known by its content.
#[derive(Debug)]
pub struct KnownSet {
    /// What commands call it.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Its files.
    pub files: &'static [KnownFile],
}

/// A file of a set; places have it plain or with `.gz`.
#[derive(Debug)]
pub struct KnownFile {
    /// Its name, without `.gz`.
    pub name: &'static str,
    /// What it may hold.
    pub contents: &'static [Content],
}

/// What an unpacked file may hold.
#[derive(Debug)]
pub struct Content {
    /// What it is.
    pub about: &'static str,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal.
    pub sha256: &'static str,
}

/// All sets that are known.
pub const SETS: &[KnownSet] = &[KnownSet {
    name: "digits",
    about: "MNIST: handwritten digits, 28×28, grey",
    files: &[
        KnownFile {
            name: "train-images-idx3-ubyte",
            contents: &[Content {
                about: "60,000 digits",
                bytes: 47_040_016,
                sha256: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            }],
        },
        KnownFile {
            name: "train-labels-idx1-ubyte",
            contents: &[Content {
                about: "60,000 labels",
                bytes: 60_008,
                sha256: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            }],
        },
        KnownFile {
            name: "t10k-images-idx3-ubyte",
            contents: &[
                Content {
                    about: "10,000 digits",
                    bytes: 7_840_016,
                    sha256: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                },
                Content {
                    about: "the first 5,000 digits",
                    bytes: 3_920_016,
                    sha256: "118ae22e5d4e94bb7f7335211629ca4da103e2b74481bd772edf32b2aff5970f",
                },
            ],
        },
        KnownFile {
            name: "t10k-labels-idx1-ubyte",
            contents: &[
                Content {
                    about: "10,000 labels",
                    bytes: 10_008,
                    sha256: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
                },
                Content {
                    about: "the first 5,000 labels",
                    bytes: 5_008,
                    sha256: "24f8aa7197fa0ee1ceb43e0809492febb35d3bdb1d1c31379ca14bd851f82ba7",
                },
            ],
        },
    ],
}];

/// The set of this name.
pub fn known(name: &str) -> Option<&'static KnownSet> {
    SETS.iter().find(|set| set.name == name)
}

impl KnownSet {
    /// Brings each file from `from`, a folder or the address of one (http or https), into the folder `to`. Files that
    /// are there and whole stay. `done` hears of each one: its name, what it holds, whether it had to be brought.
    ///
    /// # Errors
    /// If a file is not there, does not arrive, or holds something else; what was in `to` is kept.
    pub fn fetch(&self, from: &str, to: &Path, mut done: impl FnMut(&str, &Content, bool) -> Result<()>) -> Result<()> {
        fs::create_dir_all(to).with_context(|| format!("cannot make the folder {}", to.display()))?;
        for file in self.files {
            if let Ok(Some(content)) = file.check(to) {
                done(file.name, content, false)?;
                continue;
            }
            let (name, bytes) = file.bring(from)?;
            let content = file.recognise(&name, &bytes).with_context(|| format!("in what {from} has"))?;
            tensor_file::replace(&to.join(&name), &bytes)?;
            done(&name, content, true)?;
        }
        Ok(())
    }
}

impl KnownFile {
    fn names(&self) -> [String; 2] {
        [format!("{}.gz", self.name), self.name.to_owned()]
    }

    /// What the file in `folder` holds; `None` if it is not there.
    ///
    /// # Errors
    /// If it is there and holds something else.
    pub fn check(&self, folder: &Path) -> Result<Option<&Content>> {
        for name in self.names() {
            let path = folder.join(&name);
            if path.is_file() {
                let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
                return self.recognise(&path.display().to_string(), &bytes).map(Some);
            }
        }
        Ok(None)
    }

    /// Which of the known contents `bytes` are, packed or not.
    fn recognise(&self, name: &str, bytes: &[u8]) -> Result<&Content> {
        let longest = self.contents.iter().map(|content| content.bytes).max().unwrap_or(0);
        let mut unpacked = Vec::new();
        if name.ends_with(".gz") {
            let mut decoder = MultiGzDecoder::new(bytes).take(longest + 1);
            decoder.read_to_end(&mut unpacked).with_context(|| format!("{name} is damaged or cut off"))?;
        } else {
            unpacked.extend_from_slice(bytes);
        }
        let digest: String = Sha256::digest(&unpacked).iter().map(|byte| format!("{byte:02x}")).collect();
        let known = self.contents.iter().find(|content| content.sha256 == digest);
        known.with_context(|| {
            let expected: Vec<String> = self.contents.iter().map(|content| content.bytes.to_string()).collect();
            format!(
                "{name} holds something else than it should: {} bytes unpacked, SHA-256 {digest}; expected {} bytes",
                unpacked.len(),
                expected.join(" or ")
            )
        })
    }

    /// The file's name at `from` and its bytes.
    fn bring(&self, from: &str) -> Result<(String, Vec<u8>)> {
        for name in self.names() {
            let bytes = if from.starts_with("http://") || from.starts_with("https://") {
                download(&format!("{}/{name}", from.trim_end_matches('/')), self.limit())?
            } else {
                let path = Path::new(from).join(&name);
                ensure!(Path::new(from).is_dir(), "{from} is neither a folder nor an address (http:// or https://)");
                path.is_file()
                    .then(|| fs::read(&path).with_context(|| format!("cannot read {}", path.display())))
                    .transpose()?
            };
            if let Some(bytes) = bytes {
                return Ok((name, bytes));
            }
        }
        bail!("{from} has neither {0}.gz nor {0}", self.name)
    }

    /// More than any packing of this file takes.
    fn limit(&self) -> u64 {
        self.contents.iter().map(|content| content.bytes).max().unwrap_or(0) + (1 << 20)
    }
}

/// The body at an address; `None` if there is nothing there.
fn download(address: &str, limit: u64) -> Result<Option<Vec<u8>>> {
    let config = ureq::Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(30)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .build();
    match ureq::Agent::new_with_config(config).get(address).call() {
        Ok(mut response) => {
            let body = response.body_mut().with_config().limit(limit).read_to_vec();
            body.map(Some).with_context(|| format!("{address} broke off; run the command again"))
        }
        Err(ureq::Error::StatusCode(404)) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot fetch {address}; is the address right?")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: KnownFile = KnownFile {
        name: "abc",
        // SHA-256 of "abc", FIPS 180-2.
        contents: &[Content {
            about: "three letters",
            bytes: 3,
            sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        }],
    };

    fn packed(content: &[u8]) -> Vec<u8> {
        use std::io::Write as _;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn content_is_recognised_plain_and_packed() {
        assert_eq!(FILE.recognise("abc", b"abc").unwrap().about, "three letters");
        assert_eq!(FILE.recognise("abc.gz", &packed(b"abc")).unwrap().about, "three letters");
    }

    #[test]
    fn other_content_a_bomb_and_a_cut_file_are_refused() {
        let error = FILE.recognise("abc", b"abd").unwrap_err().to_string();
        assert!(error.contains("abc holds something else") && error.contains("expected 3 bytes"), "{error}");
        let bomb = FILE.recognise("abc.gz", &packed(&vec![0; 1 << 20])).unwrap_err().to_string();
        assert!(bomb.contains("4 bytes unpacked"), "unpacking stops behind the longest known content: {bomb}");
        let cut = packed(b"abc");
        assert!(FILE.recognise("abc.gz", &cut[..cut.len() - 6]).is_err());
    }

    #[test]
    fn a_set_comes_from_a_server_packed_or_plain() {
        use std::io::{BufRead as _, BufReader, Write as _};
        const SET: KnownSet = KnownSet { name: "letters", about: "", files: &[FILE] };
        for (served, body) in [("/set/abc.gz", packed(b"abc")), ("/set/abc", b"abc".to_vec())] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let from = format!("http://{}/set/", listener.local_addr().unwrap());
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let mut stream = stream.unwrap();
                    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                    let request = lines.next().unwrap().unwrap();
                    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                    let found = request.split(' ').nth(1) == Some(served);
                    let (status, body) = if found { ("200 OK", &body[..]) } else { ("404 Not Found", &b""[..]) };
                    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
                    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
                }
            });
            let to = tempfile::tempdir().unwrap();
            SET.fetch(&from, to.path(), |_, _, _| Ok(())).unwrap();
            assert_eq!(FILE.check(to.path()).unwrap().unwrap().about, "three letters");
            assert!(to.path().join(served.trim_start_matches("/set/")).is_file());
        }
    }

    #[test]
    fn a_set_comes_from_a_folder_and_what_is_whole_stays() {
        const SET: KnownSet = KnownSet { name: "letters", about: "", files: &[FILE] };
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let source = from.path().display().to_string();
        let missing = SET.fetch(&source, to.path(), |_, _, _| Ok(())).unwrap_err().to_string();
        assert!(missing.contains("abc.gz"), "{missing}");
        fs::write(from.path().join("abc.gz"), packed(b"abc")).unwrap();
        let mut heard = Vec::new();
        for _ in 0..2 {
            SET.fetch(&source, to.path(), |name, _, brought| {
                heard.push((name.to_owned(), brought));
                Ok(())
            })
            .unwrap();
        }
        assert_eq!(heard, [("abc.gz".to_owned(), true), ("abc".to_owned(), false)]);
        assert_eq!(FILE.check(to.path()).unwrap().unwrap().bytes, 3);
        assert!(SET.fetch("no/such", tempfile::tempdir().unwrap().path(), |_, _, _| Ok(())).is_err());
    }
}
