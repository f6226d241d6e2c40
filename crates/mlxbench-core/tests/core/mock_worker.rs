//! The mock worker as a process: the protocol over real pipes.
#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on should say where"
)]

use std::io::Write;
use std::process::{Command, Stdio};

fn answers(requests: &str) -> Vec<serde_json::Value> {
    let mut worker = Command::new(env!("CARGO_BIN_EXE_mlxbench-worker-mock"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = worker.stdin.take().unwrap();
    let mut stdout = std::io::BufReader::new(worker.stdout.take().unwrap());
    let mut answers = Vec::new();
    for request in requests.lines() {
        writeln!(stdin, "{request}").unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
        answers.push(serde_json::from_str(&line).unwrap());
    }
    drop(stdin);
    assert!(
        worker.wait().unwrap().success(),
        "the worker ends well when stdin closes"
    );
    answers
}

#[test]
fn requests_are_answered_in_order_and_the_end_of_stdin_ends_it() {
    let answers = answers("{\"type\": \"hello\", \"protocol\": 3}\nrubbish\n");
    assert_eq!(answers[0]["type"], "hello");
    assert_eq!(answers[1]["type"], "error");
}
