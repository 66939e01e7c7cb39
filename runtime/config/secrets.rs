//! Secrets of a worker: `.dev.vars` beside its config, else `.env`.
//!
//! Owns: which file is read and the dotenv syntax, as wrangler's reader has it: optional `export`, three kinds
//! of quotes, values over several lines in quotes, `\n` in double quotes, `#` comments.
//! Dropped: `dotenvy`. It replaces `$NAME` by this process's environment, which would break secrets
//! with a dollar sign and show the daemon's environment to a worker.

use std::path::Path;

use crate::config_file::read_text;
use crate::error::ConfigError;

/// Reads the first of `.dev.vars.<env>`, `.dev.vars`, `.env` that exists below `folder`. Later
/// entries of the same name win, as in a shell.
pub(crate) fn load(folder: &Path, env: Option<&str>) -> Result<Vec<(String, String)>, ConfigError> {
    let preferred = env.map(|env| format!(".dev.vars.{env}"));
    let names = preferred
        .as_deref()
        .into_iter()
        .chain([".dev.vars", ".env"]);
    let Some(file) = names
        .map(|name| folder.join(name))
        .find(|file| file.is_file())
    else {
        return Ok(Vec::new());
    };
    parse(&file, &read_text(&file)?)
}

fn parse(file: &Path, text: &str) -> Result<Vec<(String, String)>, ConfigError> {
    let mut entries = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let line = text[at..].lines().next().unwrap_or("");
        let trimmed = line.trim_start();
        let start = at + (line.len() - trimmed.len());
        let next_line = text[at..].find('\n').map_or(text.len(), |end| at + end + 1);
        if trimmed.is_empty() || trimmed.starts_with('#') {
            at = next_line;
            continue;
        }
        let exported = trimmed
            .strip_prefix("export")
            .filter(|rest| rest.starts_with([' ', '\t']));
        let assignment = exported.unwrap_or(trimmed).trim_start();
        let split = assignment
            .find('=')
            .map(|equals| (assignment[..equals].trim_end(), equals + 1));
        let Some((key, value_at)) = split.filter(|(key, _)| is_key(key)) else {
            return Err(ConfigError::syntax(
                file,
                text,
                start,
                "expected NAME=VALUE, a # comment or an empty line",
            ));
        };
        let value_start = start + (trimmed.len() - assignment.len()) + value_at;
        let (value, end) = parse_value(text, value_start, start + trimmed.len());
        entries.push((key.to_owned(), value));
        at = text[end..]
            .find('\n')
            .map_or(text.len(), |newline| end + newline + 1);
    }
    Ok(entries)
}

fn is_key(key: &str) -> bool {
    !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// The value that starts at `start` on a line that ends at `line_end`, and where it ends. A quote
/// that is never closed is part of a plain value, as in dotenv.
fn parse_value(text: &str, start: usize, line_end: usize) -> (String, usize) {
    let raw = &text[start..line_end];
    let value_start = start + (raw.len() - raw.trim_start().len());
    if let Some(quote) = text[value_start..line_end]
        .chars()
        .next()
        .filter(|c| matches!(c, '"' | '\'' | '`'))
        && let Some(end) = closing_quote(text, value_start + 1, quote)
    {
        let quoted = &text[value_start + 1..end];
        let value = if quote == '"' {
            quoted.replace("\\n", "\n").replace("\\r", "\r")
        } else {
            quoted.to_owned()
        };
        return (value, end + 1);
    }
    let plain = raw.split('#').next().unwrap_or("");
    (plain.trim().to_owned(), line_end)
}

/// dotenv keeps backslashes, but a quote behind one does not close the value.
fn closing_quote(text: &str, start: usize, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text[start..].char_indices() {
        if c == quote && !escaped {
            return Some(start + at);
        }
        escaped = c == '\\' && !escaped;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Vec<(String, String)> {
        parse(Path::new(".dev.vars"), text).unwrap()
    }

    fn value(text: &str) -> String {
        entries(text).pop().expect("one entry").1
    }

    #[test]
    fn values_follow_dotenv() {
        for (text, expected) in [
            ("A=plain", "plain"),
            ("A = spaced out  ", "spaced out"),
            ("export A=x", "x"),
            ("A=", ""),
            ("A=x # comment", "x"),
            ("A=\"x # kept\" # comment", "x # kept"),
            ("A='single \\n kept'", "single \\n kept"),
            ("A=\"two\\nlines\"", "two\nlines"),
            ("A=\"real\nnewline\"\n", "real\nnewline"),
            ("A=`b\"q'`", "b\"q'"),
            ("A=\"unclosed", "\"unclosed"),
            ("A=$HOME ${HOME}", "$HOME ${HOME}"),
            ("A=a=b==", "a=b=="),
            ("A=x\r\n", "x"),
        ] {
            assert_eq!(value(text), expected, "{text:?}");
        }
    }

    #[test]
    fn entries_keep_their_order_and_skip_comments() {
        let text = "# head\n\n  A=1\nexportB=2\nC=\"x\ny\" # tail\nD=4";
        let pairs = entries(text);
        let pairs: Vec<(&str, &str)> = pairs
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [("A", "1"), ("exportB", "2"), ("C", "x\ny"), ("D", "4")]
        );
    }

    #[test]
    fn a_line_without_assignment_is_a_syntax_error() {
        let error = parse(Path::new(".dev.vars"), "A=1\n  oops\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            ".dev.vars:2:3: expected NAME=VALUE, a # comment or an empty line\n2 |   oops\n  |   ^"
        );
    }

    #[test]
    fn the_first_file_that_exists_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let read = |env| {
            load(folder.path(), env)
                .unwrap()
                .pop()
                .map(|(_, value)| value)
        };
        assert_eq!(read(None), None);
        std::fs::write(folder.path().join(".env"), "A=env").unwrap();
        assert_eq!(read(None).as_deref(), Some("env"));
        std::fs::write(folder.path().join(".dev.vars"), "A=dev").unwrap();
        std::fs::write(folder.path().join(".dev.vars.prod"), "A=prod").unwrap();
        assert_eq!(read(None).as_deref(), Some("dev"));
        assert_eq!(read(Some("prod")).as_deref(), Some("prod"));
        assert_eq!(read(Some("other")).as_deref(), Some("dev"));
    }
}
