//! A small client for Chromium's debugging pipe, for the tests of the page.
//!
//! Messages are JSON and end in a zero byte, in at descriptor 3 and out at 4 (`--remote-debugging-pipe`,
//! <https://chromedevtools.github.io/devtools-protocol/>). The crates that speak the protocol compile all of its
//! thousand types, which takes longer than all other dependencies of this crate together.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Maximum wait for any answer, in seconds. Machines that run tests are busy.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// The executable of the browser; `None` if none is installed.
pub fn installed() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    std::env::split_paths(&folders).flat_map(|folder| names.map(|name| folder.join(name))).find(|file| file.is_file())
}

/// A browser with one tab.
pub struct Tab {
    process: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    session: Option<String>,
    last: u64,
    /// Events of the tab, in order.
    events: Vec<Value>,
}

impl Tab {
    /// Starts a browser with its profile in a folder, and opens an empty tab of this size.
    pub fn open(browser: &Path, profile: &Path, (width, height): (u32, u32)) -> Self {
        // The shell moves the pipes to the descriptors that the browser expects.
        let mut process = Command::new("sh")
            .args(["-c", r#"exec "$0" "$@" 3<&0 4>&1 0</dev/null 1>&2 2>/dev/null"#])
            .arg(browser)
            .args(["--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-component-update"])
            .args(["--disable-sync", "--disable-quic", "--disable-extensions"])
            .arg(format!("--window-size={width},{height}"))
            .arg(format!("--user-data-dir={}", profile.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let to = process.stdin.take().expect("piped");
        let stdout = process.stdout.take().expect("piped");
        let (heard, from) = mpsc::channel();
        std::thread::spawn(move || {
            for message in BufReader::new(stdout).split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).expect("the browser writes JSON");
                if heard.send(message).is_err() {
                    break;
                }
            }
        });
        let mut tab = Tab { process, to, from, session: None, last: 0, events: Vec::new() };
        let target = tab.call("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = tab.call("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        tab.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network", "DOM"] {
            tab.call(&format!("{domain}.enable"), json!({}));
        }
        tab
    }

    /// Calls a method and waits for its result.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.attempt(method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    fn attempt(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.to.write_all(format!("{message}\0").as_bytes()).expect("the browser listens");
        let deadline = Instant::now() + MAX_WAIT;
        loop {
            let mut answer = self.next(deadline).unwrap_or_else(|| panic!("{method}: no answer in {MAX_WAIT:?}"));
            if answer["id"] == self.last {
                return if answer["error"].is_null() {
                    Ok(answer["result"].take())
                } else {
                    Err(answer["error"].take())
                };
            }
            self.events.push(answer);
        }
    }

    fn next(&self, deadline: Instant) -> Option<Value> {
        self.from.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()
    }

    /// The events of the tab so far: methods with their parameters.
    pub fn events(&mut self) -> impl Iterator<Item = (&str, &Value)> {
        // This call returns after all events that the tab sent before its answer.
        self.call("Runtime.evaluate", json!({ "expression": "0" }));
        self.events.iter().filter_map(|event| Some((event["method"].as_str()?, &event["params"])))
    }

    /// Calls a method that loads a page, and waits until the page is loaded.
    pub fn load(&mut self, method: &str, params: Value) {
        let before = self.events.len();
        let deadline = Instant::now() + MAX_WAIT;
        self.call(method, params);
        while !self.events[before..].iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.next(deadline).unwrap_or_else(|| panic!("{method}: not loaded in {MAX_WAIT:?}"));
            self.events.push(event);
        }
    }

    /// The value of an expression.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let mut answer = self.call("Runtime.evaluate", json!({ "expression": expression, "returnByValue": true }));
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].take()
    }

    /// The first element that matches a selector, found without scripts.
    pub fn find(&mut self, selector: &str) -> Option<Value> {
        let root = self.call("DOM.getDocument", json!({ "depth": 0 }))["root"]["nodeId"].take();
        let found = self.attempt("DOM.querySelector", json!({ "nodeId": root, "selector": selector }));
        // An error means that the document was replaced between the two calls.
        Some(found.ok()?["nodeId"].take()).filter(|node| *node != 0)
    }

    /// Waits until an element exists.
    pub fn wait_for(&mut self, selector: &str) {
        let deadline = Instant::now() + MAX_WAIT;
        while self.find(selector).is_none() {
            assert!(Instant::now() < deadline, "no {selector} in {MAX_WAIT:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Scrolls to an element and clicks its middle.
    pub fn click(&mut self, selector: &str) {
        let node = self.find(selector).unwrap_or_else(|| panic!("no {selector}"));
        self.call("DOM.scrollIntoViewIfNeeded", json!({ "nodeId": node }));
        let quads = self.call("DOM.getContentQuads", json!({ "nodeId": node }))["quads"].take();
        let corners: Vec<f64> = serde_json::from_value(quads[0].clone()).unwrap_or_else(|e| panic!("{selector}: {e}"));
        let middle = |first| corners.iter().skip(first).step_by(2).sum::<f64>() / 4.0;
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            let button = if kind == "mouseMoved" { "none" } else { "left" };
            let event = json!({ "type": kind, "x": middle(0), "y": middle(1), "button": button, "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", event);
        }
    }

    /// Gives an element the focus.
    pub fn focus(&mut self, selector: &str) {
        let node = self.find(selector).unwrap_or_else(|| panic!("no {selector}"));
        self.call("DOM.focus", json!({ "nodeId": node }));
    }

    /// Types a text key by key.
    pub fn type_text(&mut self, text: &str) {
        for letter in text.chars() {
            let letter = letter.to_string();
            self.call("Input.dispatchKeyEvent", json!({ "type": "keyDown", "text": letter, "key": letter }));
            self.call("Input.dispatchKeyEvent", json!({ "type": "keyUp", "key": letter }));
        }
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        // Errors mean that the browser has already ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
