//! A command on its way to the server, in the form the wire has.

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
            words: Vec::with_capacity(64),
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

/// Commands that are done together or not at all.
#[derive(Debug)]
pub(super) struct Transaction {
    /// As the wire has them.
    words: Vec<u8>,
    commands: usize,
}

impl Transaction {
    pub(super) fn new() -> Self {
        let mut words = Vec::with_capacity(1024);
        command(&mut words, &[b"MULTI"]);
        Self { words, commands: 0 }
    }

    /// One more command, whose words are these and then `more`.
    pub(super) fn push(&mut self, words: &[&[u8]], more: &[String]) {
        start(&mut self.words, words.len() + more.len());
        for word in words {
            bulk(&mut self.words, word);
        }
        for word in more {
            bulk(&mut self.words, word.as_bytes());
        }
        self.commands += 1;
    }

    /// What is sent, and how many answers come to commands between the first and the last.
    pub(super) fn end(mut self) -> (Vec<u8>, usize) {
        command(&mut self.words, &[b"EXEC"]);
        (self.words, self.commands)
    }
}

fn command(out: &mut Vec<u8>, words: &[&[u8]]) {
    start(out, words.len());
    for word in words {
        bulk(out, word);
    }
}

fn start(out: &mut Vec<u8>, count: usize) {
    out.push(b'*');
    length(out, count);
}

fn bulk(out: &mut Vec<u8>, word: &[u8]) {
    out.push(b'$');
    length(out, word.len());
    out.extend_from_slice(word);
    out.extend_from_slice(b"\r\n");
}

/// As digits: to format a number takes longer than all the rest of a word.
fn length(out: &mut Vec<u8>, mut number: usize) {
    let mut digits = [b'0'; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] += u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
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

    #[test]
    fn lengths_are_decimal_numbers() {
        for number in [0, 9, 10, 4096, usize::MAX] {
            let mut out = Vec::new();
            length(&mut out, number);
            assert_eq!(out, format!("{number}\r\n").into_bytes());
        }
    }

    #[test]
    fn a_transaction_is_its_commands_between_a_begin_and_an_end() {
        let mut transaction = Transaction::new();
        transaction.push(&[b"DEL", b"a"], &["b".into()]);
        let (out, commands) = transaction.end();
        assert_eq!(commands, 1);
        let text = String::from_utf8(out).expect("text");
        let words: Vec<_> = text.split("\r\n").filter(|w| !w.starts_with('$')).collect();
        assert_eq!(
            words,
            ["*1", "MULTI", "*3", "DEL", "a", "b", "*1", "EXEC", ""]
        );
    }
}
