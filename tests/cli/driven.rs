//! A browser that is driven as a person would: by WebDriver, through chromedriver.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long a page may take to become what is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// The key of an element's name in WebDriver's answers.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window that nobody sees.
pub struct Driven {
    driver: Child,
    session: String,
}

impl Driven {
    /// Starts one; that there is none on this machine is said.
    pub fn start() -> Option<Self> {
        let driver = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).spawn();
        let Ok(mut driver) = driver else {
            eprintln!(
                "skipped: chromedriver is missing (apt-get install chromium-driver), so no page was used"
            );
            return None;
        };
        let lines = BufReader::new(driver.stdout.as_mut().unwrap()).lines().map_while(Result::ok);
        let port = lines.into_iter().find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            Some(port.trim_end_matches('.').to_owned())
        });
        let arguments =
            ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"];
        let capabilities =
            json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": { "args": arguments } } } });
        let root = format!("http://127.0.0.1:{}/session", port.expect("chromedriver says its port"));
        let session = post(&root, &capabilities)["sessionId"].as_str().unwrap().to_owned();
        Some(Self { driver, session: format!("{root}/{session}") })
    }

    fn call(&self, command: &str, body: &Value) -> Value {
        post(&format!("{}/{command}", self.session), body)
    }

    pub fn open(&self, address: &str) {
        self.call("url", &json!({ "url": address }));
    }

    /// What a script returns.
    pub fn run(&self, script: &str) -> Value {
        self.call("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until a script returns true.
    pub fn wait(&self, script: &str) {
        let began = Instant::now();
        while self.run(script) != true {
            let page = || self.run("return document.body.innerText");
            assert!(began.elapsed() < PATIENCE, "`{script}` never became true on\n{}", page());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn element(&self, selector: &str) -> String {
        let found = self.call("element", &json!({ "using": "css selector", "value": selector }));
        format!("element/{}", found[ELEMENT].as_str().unwrap())
    }

    pub fn write(&self, selector: &str, text: &str) {
        self.call(&format!("{}/value", self.element(selector)), &json!({ "text": text }));
    }

    pub fn choose_file(&self, selector: &str, path: &Path) {
        self.write(selector, path.to_str().unwrap());
    }

    pub fn click(&self, selector: &str) {
        self.call(&format!("{}/click", self.element(selector)), &json!({}));
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        drop(ureq::delete(&self.session).call());
        drop(self.driver.kill());
        drop(self.driver.wait());
    }
}

fn post(address: &str, body: &Value) -> Value {
    let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
    let agent: ureq::Agent = config.build().into();
    let mut answer =
        agent.post(address).header("Content-Type", "application/json").send(body.to_string()).unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    assert!(answer.status().is_success(), "{address}: {text}");
    serde_json::from_str::<Value>(&text).unwrap()["value"].take()
}
