//! A real browser without a window, to open pages in.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names under which Chromium is installed.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Added to a copy of a page: it writes down what the page has fetched.
const WITNESS: &str = "<script>addEventListener('load', () => { document.documentElement.dataset.fetched = \
                       performance.getEntriesByType('resource').map(entry => entry.name).join(' '); });</script>";

/// An installed browser.
pub struct Browser(PathBuf);

/// What a browser made of a page.
pub struct Seen {
    /// The document, as the browser writes it.
    pub dom: String,
    /// What it said on its console.
    pub console: Vec<String>,
    /// What it fetched beside the page.
    pub fetched: Vec<String>,
}

impl Browser {
    /// The browser of this machine; that there is none is said.
    pub fn find() -> Option<Self> {
        let runs = |name: &str| {
            Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
        };
        let found = NAMES.into_iter().find(|name| runs(name)).map(|name| Self(name.into()));
        if found.is_none() {
            eprintln!(
                "skipped: chromium is missing (apt-get install chromium), so no browser has seen the page"
            );
        }
        found
    }

    /// Opens a page.
    pub fn open(&self, page: &Path) -> Seen {
        let (dom, console) = self.dump(&format!("file://{}", page.display()));
        // The page lets no script in: the copy does. Of files browsers keep no list of what was fetched.
        let html = fs::read_to_string(page).unwrap();
        let start = html.find("<meta http-equiv=\"Content-Security-Policy\"").expect("the page has a policy");
        let end = start + html[start..].find('>').unwrap() + 1;
        let copy = format!("{}{WITNESS}{}", &html[..start], &html[end..]);
        let witnessed = self.dump(&serve(copy)).0;
        let name = "data-fetched=\"";
        let start = witnessed.find(name).expect("the script has run") + name.len();
        let fetched = &witnessed[start..start + witnessed[start..].find('"').unwrap()];
        Seen { dom, console, fetched: fetched.split_whitespace().map(str::to_owned).collect() }
    }

    /// The document that the browser makes of a page, and the lines of its console.
    fn dump(&self, address: &str) -> (String, Vec<String>) {
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new(&self.0);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
        command.args(["--disable-background-networking", "--disable-component-update", "--no-first-run"]);
        command.args(["--enable-logging=stderr", "--log-level=0", "--dump-dom"]);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        let output = command.arg(address).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let console = String::from_utf8_lossy(&output.stderr);
        let console = console.lines().filter(|line| line.contains(":CONSOLE")).map(str::to_owned).collect();
        (String::from_utf8(output.stdout).unwrap(), console)
    }
}

/// Answers every request with `html`, as long as this process lives; returns the address.
fn serve(html: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nConnection: close\r\n";
            drop(write!(stream, "{head}Content-Length: {}\r\n\r\n{html}", html.len()));
        }
    });
    format!("http://{address}/")
}

#[test]
fn the_browser_notices_errors_and_what_is_fetched() {
    let Some(browser) = Browser::find() else { return };
    let room = tempfile::tempdir().unwrap();
    let page = room.path().join("page.html");
    let policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'\">";
    fs::write(&page, format!("<!doctype html><head>{policy}</head><img src=\"picture.svg\">")).unwrap();
    let seen = browser.open(&page);
    assert!(seen.console.iter().any(|line| line.contains("Content Security Policy")), "{:?}", seen.console);
    assert!(seen.fetched.iter().any(|name| name.ends_with("picture.svg")), "{:?}", seen.fetched);
}
