//! A command on its way to the server, in the form the wire has.

use std::io::Write;

use super::script::Script;

/// A script with its arguments, or a plain command.
#[derive(Debug)]
pub(super) struct Call {
    script: Option<&'static Script>,
    /// What the keys of a script begin with.
    tag: String,
    /// Arguments as the wire has them; of a script, those after its digest and count of keys.
    words: Vec<u8>,
    count: usize,
}

/// How a script is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// The server has seen it.
    Digest,
    /// It may not have.
    Source,
}

impl Call {
    /// A script for the queue, or the namespace, whose keys begin with `tag`.
    pub(super) fn script(script: &'static Script, tag: &str, clock: &str) -> Self {
        let mut call = Self {
            script: Some(script),
            tag: tag.into(),
            words: Vec::with_capacity(256),
            count: 0,
        };
        call.arg(format!("{tag}seq")).arg(tag).arg(clock);
        call
    }

    /// A command that is no script.
    pub(super) fn plain(words: &[&[u8]]) -> Self {
        let mut call = Self {
            script: None,
            tag: String::new(),
            words: Vec::new(),
            count: 0,
        };
        for word in words {
            call.arg(word);
        }
        call
    }

    /// One more argument.
    pub(super) fn arg(&mut self, word: impl AsRef<[u8]>) -> &mut Self {
        bulk(&mut self.words, word.as_ref());
        self.count += 1;
        self
    }

    /// One more argument, a number.
    pub(super) fn number(&mut self, number: u64) -> &mut Self {
        self.arg(number.to_string())
    }

    /// Its script, if it is one.
    pub(super) const fn runs(&self) -> Option<&'static Script> {
        self.script
    }

    /// What the keys of a script begin with; empty for others.
    pub(super) fn tag(&self) -> &str {
        &self.tag
    }

    /// Appends it to what is sent.
    pub(super) fn write(&self, out: &mut Vec<u8>, by: By) {
        match self.script {
            None => start(out, self.count),
            Some(script) => {
                start(out, self.count + 3);
                match by {
                    By::Digest => {
                        bulk(out, b"EVALSHA");
                        bulk(out, script.digest().as_bytes());
                    }
                    By::Source => {
                        bulk(out, b"EVAL");
                        bulk(out, script.source.as_bytes());
                    }
                }
                bulk(out, b"1");
            }
        }
        out.extend_from_slice(&self.words);
    }
}

fn start(out: &mut Vec<u8>, count: usize) {
    write!(out, "*{count}\r\n").expect("a vector takes everything");
}

fn bulk(out: &mut Vec<u8>, word: &[u8]) {
    write!(out, "${}\r\n", word.len()).expect("a vector takes everything");
    out.extend_from_slice(word);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_has_the_form_of_the_wire() {
        let mut out = Vec::new();
        Call::plain(&[b"GET", b"a b"]).write(&mut out, By::Digest);
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$3\r\na b\r\n");
    }
}
