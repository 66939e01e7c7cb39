//! What can be wrong with a project.
//!
//! Audience: the person who typed the command. Every text says what is wrong, where, and what to do.
//! The binary maps the variants to exit codes and prints the text as it is.

use std::path::{Path, PathBuf};

/// Why a project cannot be loaded. `Display` is complete: print it without the source chain.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A project, a config file or a module file that does not exist.
    #[error("{message}")]
    NotFound { path: PathBuf, message: String },

    /// A file that is not JSON, TOML or dotenv. `frame` is the line with a caret below it.
    #[error("{}:{line}:{column}: {message}\n{frame}", file.display())]
    Syntax {
        file: PathBuf,
        line: usize,
        column: usize,
        message: String,
        frame: String,
    },

    /// A file that parses but says something facetd cannot do. `key` is the path of the offending
    /// value, such as `durable_objects.bindings[0].class_name`, empty if no single value is at fault.
    #[error("{}: {}{message}", file.display(), if key.is_empty() { String::new() } else { format!("{key}: ") })]
    Invalid {
        file: PathBuf,
        key: String,
        message: String,
    },

    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
}

impl ConfigError {
    pub(crate) fn not_found(path: &Path, message: impl Into<String>) -> Self {
        Self::NotFound {
            path: path.to_owned(),
            message: message.into(),
        }
    }

    pub(crate) fn invalid(file: &Path, key: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid {
            file: file.to_owned(),
            key: key.into(),
            message: message.into(),
        }
    }

    /// `offset` is the byte position of the fault in `text`; past the end counts as the end.
    pub(crate) fn syntax(
        file: &Path,
        text: &str,
        offset: usize,
        message: impl Into<String>,
    ) -> Self {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line_start = text[..offset].rfind('\n').map_or(0, |at| at + 1);
        let line = text[..line_start].matches('\n').count() + 1;
        let column = text[line_start..offset].chars().count() + 1;
        Self::Syntax {
            file: file.to_owned(),
            line,
            column,
            message: message.into(),
            frame: frame(
                text[line_start..].lines().next().unwrap_or(""),
                line,
                column,
            ),
        }
    }

    /// For `map_err`: says what was being done to which file.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

/// Characters of the source line shown on each side of the fault: configs may be minified.
const FRAME_CONTEXT: usize = 60;

fn frame(source_line: &str, line: usize, column: usize) -> String {
    let skip = column.saturating_sub(FRAME_CONTEXT + 1);
    let shown: String = source_line
        .chars()
        .skip(skip)
        .take(2 * FRAME_CONTEXT)
        .map(|c| if c == '\t' { ' ' } else { c })
        .collect();
    let number = line.to_string();
    format!(
        "{number} | {shown}\n{} | {}^",
        " ".repeat(number.len()),
        " ".repeat(column - 1 - skip)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syntax_error_shows_line_column_and_a_caret() {
        let error = ConfigError::syntax(
            Path::new("wrangler.jsonc"),
            "{\n  \"é\": x\n}",
            10,
            "Unexpected word",
        );
        assert_eq!(
            error.to_string(),
            "wrangler.jsonc:2:8: Unexpected word\n2 |   \"é\": x\n  |        ^",
            "columns count characters, not bytes"
        );
    }

    #[test]
    fn long_lines_are_cut_around_the_fault() {
        let text = format!("{}!{}", "a".repeat(500), "b".repeat(500));
        let ConfigError::Syntax { frame, column, .. } =
            ConfigError::syntax(Path::new("f"), &text, 500, "m")
        else {
            panic!("not a syntax error");
        };
        assert_eq!(column, 501);
        let lines: Vec<&str> = frame.lines().collect();
        assert_eq!(
            lines[0].find('!'),
            lines[1].find('^'),
            "the caret stays below the fault"
        );
        assert!(
            frame.len() < 300,
            "a minified config does not flood the terminal"
        );
    }
}
