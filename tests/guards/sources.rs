//! The files of this repository, as rules see them.

use std::fs;
use std::path::{Path, PathBuf};

/// One file.
pub(crate) struct Source {
    /// Where it is, from the root of the repository.
    pub path: String,
    /// What is in it.
    pub text: String,
}

impl Source {
    /// A file that is made up, to see a rule broken.
    pub(crate) fn made_up(path: &str, text: &str) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
        }
    }

    /// Its lines of code with their numbers: comments are left out.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate();
        lines.filter_map(|(index, line)| {
            let code = line.split("//").next().unwrap_or_default();
            (!code.trim().is_empty()).then_some((index + 1, code))
        })
    }

    /// Whether it lies in one of these directories, or is one of these files.
    pub(crate) fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }

    /// One offence for each line of code with one of these words in it.
    pub(crate) fn naming(&self, words: &[&str]) -> Vec<String> {
        let mut offences = Vec::new();
        for (line, code) in self.code() {
            for word in words.iter().filter(|word| code.contains(**word)) {
                offences.push(format!("{}:{line} names `{word}`", self.path));
            }
        }
        offences
    }
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every text file of the repository that people write.
pub(crate) fn all() -> Vec<Source> {
    let mut found = Vec::new();
    for place in ["child", "shared", "supervisor", "tests", "scripts", ".ci"] {
        collect(&root().join(place), place, &mut found);
    }
    let names = ["Cargo.toml", "README.md", "ARCHITECTURE.md", "CHANGELOG.md"];
    for name in names {
        let text = fs::read_to_string(root().join(name)).unwrap();
        found.push(Source::made_up(name, &text));
    }
    assert!(found.len() > 100, "only {} files were found", found.len());
    found
}

/// The Rust sources.
pub(crate) fn rust() -> Vec<Source> {
    let mut files = all();
    files.retain(|file| file.path.ends_with(".rs"));
    files
}

fn collect(directory: &Path, shown: &str, found: &mut Vec<Source>) {
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let path = format!("{shown}/{name}");
        let kind = entry.file_type().unwrap();
        if kind.is_dir() && name != "target" && name != "golden" {
            collect(&entry.path(), &path, found);
        } else if kind.is_file() && name != "Cargo.lock" {
            // What is no text is no source.
            if let Ok(text) = fs::read_to_string(entry.path()) {
                found.push(Source { path, text });
            }
        }
    }
}
