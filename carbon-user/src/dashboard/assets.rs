//! The pages, embedded. `cargo xtask web` makes them from `web/src`, so that a build of the program needs no node.

/// A file of the pages.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// Its path in a URL.
    pub path: &'static str,
    /// For the browser.
    pub content_type: &'static str,
    /// What is in it.
    pub bytes: &'static [u8],
}

/// All of them; the page comes first.
pub const ASSETS: [Asset; 4] = [
    Asset {
        path: "/",
        content_type: "text/html; charset=utf-8",
        bytes: include_bytes!("web/dist/index.html"),
    },
    Asset {
        path: "/app.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("web/dist/app.js"),
    },
    Asset {
        path: "/app.css",
        content_type: "text/css; charset=utf-8",
        bytes: include_bytes!("web/dist/app.css"),
    },
    Asset { path: "/icon.svg", content_type: "image/svg+xml", bytes: include_bytes!("web/dist/icon.svg") },
];

/// Tells one edition of the pages from another, as an HTTP entity tag.
pub fn tag() -> String {
    let record = include_str!("web/dist/SOURCE.sha256");
    format!("\"{}-{}\"", env!("CARGO_PKG_VERSION"), record.get(..16).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The limit is for slow links: what is beyond it belongs into no page.
    #[test]
    fn pages_are_small_and_load_nothing_from_elsewhere() {
        let size: usize = ASSETS.iter().map(|asset| asset.bytes.len()).sum();
        assert!(size < 250 * 1024, "{size} bytes");
        let page = std::str::from_utf8(ASSETS[0].bytes).unwrap();
        assert!(!page.contains("://") && !page.contains("<style") && !page.contains(" style="), "{page}");
        assert!(page.matches("<script").count() == 1 && page.contains("<script src=\"/app.js\""), "{page}");
        let sheet = std::str::from_utf8(ASSETS[2].bytes).unwrap();
        assert!(!sheet.contains("@import") && !sheet.contains("url(http"), "nothing from elsewhere");
    }
}
