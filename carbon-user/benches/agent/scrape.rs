//! One reading of `/metrics`.

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// What it said, and how long that took.
pub(crate) struct Scrape {
    text: String,
    pub(crate) took_ms: f64,
    pub(crate) series: usize,
}

impl Scrape {
    pub(crate) fn of(address: &str) -> Result<Self> {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let took_ms = begun.elapsed().as_secs_f64() * 1e3;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer by HTTP")?;
        if !head.starts_with("HTTP/1.1 200") {
            bail!("{head}");
        }
        let series =
            body.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_alphabetic())).count();
        Ok(Self { text: body.to_owned(), took_ms, series })
    }

    /// Values of a family's series, with their labels.
    fn values(&self, family: &str) -> impl Iterator<Item = (&str, f64)> {
        self.text.lines().filter_map(move |line| {
            let rest = line.strip_prefix(family).filter(|rest| rest.starts_with(['{', ' ']))?;
            let (labels, value) = rest.rsplit_once(' ')?;
            Some((labels, value.parse().ok()?))
        })
    }

    /// The sum of a family.
    pub(crate) fn sum(&self, family: &str) -> f64 {
        self.values(family).map(|(_, value)| value).sum()
    }

    /// The sum of those with a label.
    pub(crate) fn labelled(&self, family: &str, label: &str) -> f64 {
        self.values(family).filter(|(labels, _)| labels.contains(label)).map(|(_, value)| value).sum()
    }

    /// Which way of taking CPU time is in use.
    pub(crate) fn accounting(&self) -> String {
        let used = self.values("carbon_accounting").find(|(_, value)| *value > 0.0);
        let name = used.and_then(|(labels, _)| labels.split('"').nth(1));
        name.unwrap_or("unknown").to_owned()
    }
}
