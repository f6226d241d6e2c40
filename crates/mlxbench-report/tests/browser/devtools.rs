//! A Chromium of one's own, and its DevTools protocol over a pipe.
//!
//! The protocol as plain JSON, without a crate for it: typed bindings are 25,000 generated lines to
//! compile, and they drop an event in silence when a newer browser puts a word into it that they don't
//! know. A check for errors and requests can't afford that. With a pipe in place of a socket there is
//! no port to agree upon, and the browser ends by itself when the test does, however that ends.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

/// Far more than anything here takes, on a busy machine as well.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A browser with one tab; closed, with its profile removed, when dropped.
pub(crate) struct Browser {
    process: Child,
    commands: Option<ChildStdin>,
    messages: Receiver<Value>,
    session: Option<String>,
    last_id: u64,
    /// The tab's events so far, in order: `{"method": .., "params": ..}`.
    pub(crate) events: Vec<Value>,
    _profile: TempDir,
}

impl Browser {
    /// Starts `$MLXBENCH_BROWSER` and opens a tab.
    pub(crate) fn start() -> Self {
        let program = std::env::var("MLXBENCH_BROWSER")
            .expect("MLXBENCH_BROWSER is not set: run with MLXBENCH_BROWSER=$(scripts/browser)");
        let profile = tempfile::tempdir().unwrap();
        // Chromium takes commands from file descriptor 3 and answers to 4.
        let mut process = Command::new("sh")
            .args(["-c", r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >&2"#, &program])
            .args(["--headless", "--remote-debugging-pipe", "--disable-gpu"])
            // Containers and root can't have the sandbox; the pages are our own.
            .args(["--no-sandbox", "--disable-dev-shm-usage"])
            // No traffic but the page's, and none of that gets out.
            .args([
                "--disable-background-networking",
                "--disable-component-update",
            ])
            .args(["--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND"])
            .args([
                "--use-mock-keychain",
                "--hide-scrollbars",
                "--force-color-profile=srgb",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let commands = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().unwrap());
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for message in answers.split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).expect("Chromium speaks JSON");
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let mut browser = Self {
            process,
            commands,
            messages,
            session: None,
            last_id: 0,
            events: Vec::new(),
            _profile: profile,
        };
        let target =
            browser.call("Target.createTarget", json!({"url": "about:blank"}))["targetId"].take();
        let attached = browser.call(
            "Target.attachToTarget",
            json!({"targetId": target, "flatten": true}),
        );
        browser.session = attached["sessionId"].as_str().map(String::from);
        browser
    }

    /// Calls a method of the tab and waits for its result.
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let id = self.last_id;
        let mut command = json!({"id": id, "method": method, "params": params});
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        let mut bytes = command.to_string().into_bytes();
        bytes.push(0);
        self.commands
            .as_mut()
            .unwrap()
            .write_all(&bytes)
            .unwrap_or_else(|error| panic!("Chromium took no {method}: {error}"));
        loop {
            let mut message = self.receive(method);
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].take();
            }
            self.events.push(message);
        }
    }

    /// Waits for an event of the tab, which may have been already.
    pub(crate) fn wait_for(&mut self, event: &str) {
        while !self.events.iter().any(|seen| seen["method"] == event) {
            let message = self.receive(event);
            self.events.push(message);
        }
    }

    fn receive(&mut self, what_for: &str) -> Value {
        self.messages
            .recv_timeout(TIMEOUT)
            .unwrap_or_else(|error| match error {
                RecvTimeoutError::Timeout => panic!("Chromium is silent on {what_for}"),
                RecvTimeoutError::Disconnected => {
                    panic!("Chromium ended at {what_for}: {:?}", self.process.wait())
                }
            })
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // A closed pipe ends Chromium with all its processes, which a signal would leave behind.
        self.commands = None;
        loop {
            match self.messages.recv_timeout(TIMEOUT) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let _ = self.process.kill();
                    break;
                }
            }
        }
        let _ = self.process.wait();
    }
}
