//! A report in one file that needs nothing else: its words as they are without a script, and the dashboard's charts of it.
//!
//! The file says in itself what may run: the one script and the one sheet whose hashes it names (CSP, level 3, 6.7.3). What
//! others named is text, or a string of JSON that no element can end.

use super::assets::ASSETS;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// A page of `title`, with `body` as HTML, and `charts` as JSON for the script.
pub fn page(title: &str, body: &str, charts: &str) -> String {
    let (script, sheet) = (asset("/app.js"), asset("/app.css"));
    let policy = format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; img-src blob:; base-uri 'none'; form-action 'none'",
        hash(script),
        hash(sheet)
    );
    // JSON has no `<` but in its strings, where it may stand as an escape: no string ends the element.
    let charts = charts.replace('<', "\\u003c");
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>{sheet}</style>\n</head>\n<body class=\"report\">\n<main id=\"main\">\n{body}</main>\n\
         <script type=\"application/json\" id=\"carbon-report\">{charts}</script>\n\
         <script type=\"module\">{script}</script>\n</body>\n</html>\n"
    )
}

/// As a policy names it: base64 of SHA-256.
fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

fn asset(path: &str) -> &'static str {
    let found = ASSETS.iter().find(|asset| asset.path == path);
    found.and_then(|asset| std::str::from_utf8(asset.bytes).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_its_own_script_can_run() {
        let page = page("Energy", "<h1>Energy</h1>\n", r#"{"key":"</script><script>alert(1)</script>"}"#);
        assert_eq!(page.matches("</script>").count(), 2, "a name ends no element");
        assert!(page.contains(r#""\u003c/script>\u003cscript>alert(1)"#));
        assert!(page.contains(&format!("script-src '{}'", hash(asset("/app.js")))));
        assert!(!page.contains("src=\"/") && !page.contains("href=\"/"), "nothing is loaded");
        // What is hashed is what stands there, so it must hold no end of its own element.
        assert!(!asset("/app.js").is_empty() && !asset("/app.js").contains("</script"));
        assert!(!asset("/app.css").is_empty() && !asset("/app.css").contains("</style"));
        // SHA-256 of nothing, as FIPS 180-4 has it.
        assert_eq!(hash(""), "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }
}
