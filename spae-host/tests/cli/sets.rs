//! `data`: known sets, a place on this machine, a server, and what a folder holds.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use serde_json::Value;

use crate::support::{argument, spae, trained};

/// A server that answers every request with `status` and `body`; its address.
fn server(status: &'static str, body: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/set", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            // A client that has seen enough goes away.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        }
    });
    address
}

#[test]
fn a_server_without_the_files_or_with_others_is_refused_and_nothing_is_kept() {
    let out = tempfile::tempdir().unwrap();
    let out = out.path().join("digits");
    let digits = |from: &str| spae(&["data", "digits", "--from", from, "-o", argument(&out)]);
    let empty = server("404 Not Found", b"");
    digits(&empty).failure(&[&empty, "train-images-idx3-ubyte"]);
    digits(&server("200 OK", b"something else")).failure(&["train-images-idx3-ubyte.gz"]);
    digits(&server("500 Internal Server Error", b"")).failure(&["500"]);
    digits("http://127.0.0.1:1/nothing").failure(&["127.0.0.1:1"]);
    digits("neither/folder").failure(&["neither/folder"]);
    assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
}

#[test]
fn list_names_the_files_that_a_place_must_have() {
    assert!(spae(&["data", "list"]).success().contains("train-images-idx3-ubyte[.gz]: 60,000 digits"));
    let sets: Value = serde_json::from_str(&spae(&["data", "list", "--json"]).success()).unwrap();
    assert_eq!(sets[0]["files"].as_array().unwrap().len(), 4);
}

#[test]
fn check_reads_every_picture_and_names_the_damaged_one() {
    let data = trained().path("data");
    let shown = spae(&["data", "check", argument(&data)]).success();
    assert!(shown.contains("train: 16 pictures in 2 classes"), "{shown}");
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (folder.path().join("good.png"), folder.path().join("bad.png"));
    fs::copy(data.join("train/dark/0.png"), &good).unwrap();
    fs::write(&bad, "not a picture").unwrap();
    spae(&["data", "check", argument(folder.path())]).failure(&["bad.png", "1 of the pictures"]);
    let empty = tempfile::tempdir().unwrap();
    spae(&["data", "check", argument(empty.path())]).failure(&[argument(empty.path())]);
}

#[test]
fn the_reference_digits_are_recognised() {
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/mnist");
    if !reference.is_dir() {
        eprintln!("skipped the_reference_digits_are_recognised: ../shared/data/mnist is not here");
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let brought = spae(&["data", "digits", "--from", argument(&reference), "-o", argument(out.path())]).success();
    assert_eq!(brought.lines().filter(|line| line.contains("brought, checksum is right")).count(), 4, "{brought}");
    let again = spae(&["data", "digits", "--from", "neither/folder", "-o", argument(out.path())]).success();
    assert_eq!(again.lines().filter(|line| line.contains("was there already")).count(), 4, "{again}");
    let shown = spae(&["data", "check", argument(out.path())]).success();
    assert!(shown.contains("train: 60,000 pictures in 10 classes") && shown.contains("this is `digits`"), "{shown}");
}
