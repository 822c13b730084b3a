//! A picture in a file: SVG or PNG, as the file's name ends.

use super::error::CliError;
use super::output::Output;
use super::runs::in_memory;
use crate::report::png::{self, Drawn};
use std::path::Path;

/// How a picture is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Svg,
    Png,
}

/// Where a picture goes; opened, and its form known, before anything is read for it.
#[derive(Debug)]
pub(super) struct Picture {
    output: Output,
    form: Form,
}

impl Picture {
    /// To this file of this option, or as SVG to standard output.
    pub(super) fn open(option: &'static str, path: Option<&Path>) -> Result<Self, CliError> {
        let form = path.map_or(Ok(Form::Svg), |path| form(option, path))?;
        let output = Output::open(path, Output::Stdout).map_err(|error| match error {
            CliError::Output { path, source } => CliError::Argument {
                option,
                value: path.display().to_string(),
                reason: format!("cannot be opened: {source}"),
                advice: "give a file in a directory that can be written".into(),
            },
            other => other,
        })?;
        Ok(Self { output, form })
    }

    /// Writes it.
    pub(super) fn write(self, svg: &str) -> Result<(), CliError> {
        match self.form {
            Form::Svg => self.output.write(svg),
            Form::Png => {
                let Drawn { png, missing } = png::of_svg(svg).map_err(|error| in_memory(&error))?;
                if missing > 0 {
                    log::warn!(
                        "letters that the picture's font has not are empty boxes in it: a name that ends in .svg keeps them"
                    );
                }
                self.output.write_bytes(&png)
            }
        }
    }
}

/// By the end of the name, whatever its case. A name without an end, such as that of a pipe, gets SVG.
fn form(option: &'static str, path: &Path) -> Result<Form, CliError> {
    let end = path.extension().map(|end| end.to_string_lossy().to_lowercase());
    match end.as_deref() {
        None | Some("svg") => Ok(Form::Svg),
        Some("png") => Ok(Form::Png),
        Some(other) => Err(CliError::Argument {
            option,
            value: path.display().to_string(),
            reason: format!("no picture is written as .{other}"),
            advice: "let the name end in .svg or .png".into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_name_says_the_form() {
        let of = |name: &str| form("--output", Path::new(name)).ok();
        assert_eq!(of("a.svg"), Some(Form::Svg));
        assert_eq!(of("a.b.PNG"), Some(Form::Png));
        assert_eq!(of("/dev/stdout"), Some(Form::Svg));
        assert_eq!(of("a.jpg"), None);
    }

    #[test]
    fn a_png_is_in_the_file_and_another_form_is_refused_before_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture.png");
        let svg = crate::report::svg::Svg::new(10.0, 10.0).finish();
        Picture::open("--output", Some(&path)).unwrap().write(&svg).unwrap();
        assert!(std::fs::read(&path).unwrap().starts_with(b"\x89PNG\r\n\x1a\n"));
        let other = folder.path().join("picture.jpg");
        assert!(Picture::open("--output", Some(&other)).is_err());
        let nowhere = Picture::open("--plot", Some(&folder.path().join("no/p.svg"))).unwrap_err().message();
        assert!(nowhere.contains("--plot ") && nowhere.contains("cannot be opened"), "{nowhere}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
