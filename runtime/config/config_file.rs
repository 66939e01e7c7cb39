//! Finds the config of a project and parses it.
//!
//! Owns: the names looked for, the choice of parser, line and column of syntax errors. Knows nothing
//! of what the keys mean: it hands on one JSON object whatever the file's format.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::ConfigError;

/// Looked for in a folder, in this order.
const CONFIG_NAMES: [&str; 4] = [
    "wrangler.json",
    "wrangler.jsonc",
    "wrangler.toml",
    "facetd.jsonc",
];

/// A config, a `.dev.vars` or a `migrations.json` larger than this is a mistake, not a config.
const TEXT_BYTES_MAX: u64 = 8 << 20;

/// What a PROJECT argument points at.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Located {
    Config(PathBuf),
    /// One JavaScript file without a config.
    SingleFile(PathBuf),
}

/// # Errors
/// `NotFound` if `project` or a config in it does not exist, `Invalid` if it is no kind of project.
pub(crate) fn locate(project: &Path) -> Result<Located, ConfigError> {
    let metadata = match std::fs::metadata(project) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let message = format!(
                "no such project: {}. Give a folder with a wrangler config, a config file, or a .js file",
                project.display()
            );
            return Err(ConfigError::not_found(project, message));
        }
        Err(error) => return Err(ConfigError::io("open", project)(error)),
    };
    if metadata.is_dir() {
        let config = CONFIG_NAMES
            .iter()
            .map(|name| project.join(name))
            .find(|path| path.is_file());
        return config.map(Located::Config).ok_or_else(|| {
            let message = format!(
                "no config in {}: looked for {}. Add one, or give the path of a single .js file",
                project.display(),
                CONFIG_NAMES.join(", ")
            );
            ConfigError::not_found(project, message)
        });
    }
    match extension(project) {
        "json" | "jsonc" | "toml" => Ok(Located::Config(project.to_owned())),
        "js" | "mjs" => Ok(Located::SingleFile(project.to_owned())),
        "ts" | "mts" | "cts" | "tsx" | "jsx" => Err(ConfigError::invalid(
            project,
            "",
            typescript_advice(project),
        )),
        _ => {
            let message = "not a project: expected a folder, a .json, .jsonc or .toml config, or a .js or .mjs file";
            Err(ConfigError::invalid(project, "", message))
        }
    }
}

/// What to tell someone whose entry is TypeScript or JSX.
pub(crate) fn typescript_advice(main: &Path) -> String {
    format!(
        "\"{}\" is not JavaScript, and facetd does not compile it. Bundle it first, for example with \
         \"npx wrangler deploy --dry-run --outdir dist\", then point \"main\" at the .js file in dist",
        main.display()
    )
}

/// `""` if there is none.
pub(crate) fn extension(path: &Path) -> &str {
    path.extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or("")
}

/// # Errors
/// `Syntax` with line, column and the line itself; `Io`; `Invalid` if the root is not an object.
pub(crate) fn parse(file: &Path) -> Result<Map<String, Value>, ConfigError> {
    let text = read_text(file)?;
    let value = if extension(file) == "toml" {
        parse_toml(file, &text)?
    } else {
        parse_json(file, &text)?
    };
    match value {
        Value::Object(map) => Ok(map),
        _ => Err(ConfigError::syntax(
            file,
            &text,
            0,
            "expected an object: { \"name\": ..., \"main\": ... }",
        )),
    }
}

/// Reads a small UTF-8 file, without its byte order mark.
pub(crate) fn read_text(file: &Path) -> Result<String, ConfigError> {
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|opened| opened.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(ConfigError::io("read", file))?;
    if bytes.len() as u64 > TEXT_BYTES_MAX {
        return Err(ConfigError::invalid(
            file,
            "",
            format!("larger than {TEXT_BYTES_MAX} bytes"),
        ));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text
            .strip_prefix('\u{feff}')
            .map(str::to_owned)
            .unwrap_or(text)),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes());
            Err(ConfigError::syntax(file, &text, valid, "not UTF-8 text"))
        }
    }
}

/// JSON with comments and trailing commas, whatever the file is called, as wrangler reads it.
pub(crate) fn parse_json(file: &Path, text: &str) -> Result<Value, ConfigError> {
    let options = jsonc_parser::ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    jsonc_parser::parse_to_serde_value(text, &options).map_err(|error| {
        ConfigError::syntax(file, text, error.range().start, error.kind().to_string())
    })
}

fn parse_toml(file: &Path, text: &str) -> Result<Value, ConfigError> {
    let table: toml::Table = toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        ConfigError::syntax(file, text, offset, error.message())
    })?;
    Ok(from_toml(toml::Value::Table(table)))
}

/// Dates become strings (`compatibility_date = 2026-01-01` without quotes is fine); the numbers JSON
/// does not have become null.
fn from_toml(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Float(number) => Value::from(number),
        toml::Value::Boolean(boolean) => Value::Bool(boolean),
        toml::Value::Datetime(date) => Value::String(date.to_string()),
        toml::Value::Array(items) => items.into_iter().map(from_toml).collect(),
        toml::Value::Table(table) => Value::Object(
            table
                .into_iter()
                .map(|(key, value)| (key, from_toml(value)))
                .collect(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn write(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        (folder, file)
    }

    #[test]
    fn configs_are_found_in_the_documented_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in CONFIG_NAMES.iter().rev() {
            let file = folder.path().join(name);
            std::fs::write(&file, "{}").unwrap();
            assert_eq!(
                locate(folder.path()).unwrap(),
                Located::Config(file),
                "{name} wins over those after it"
            );
        }
    }

    #[test]
    fn a_folder_without_config_names_what_was_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        let error = locate(folder.path()).unwrap_err();
        assert!(matches!(error, ConfigError::NotFound { .. }));
        assert_eq!(
            error.to_string(),
            format!(
                "no config in {}: looked for wrangler.json, wrangler.jsonc, wrangler.toml, facetd.jsonc. Add one, or give the path of a single .js file",
                folder.path().display()
            )
        );
    }

    #[test]
    fn a_missing_project_says_so() {
        let error = locate(Path::new("no/such/folder")).unwrap_err();
        assert!(matches!(error, ConfigError::NotFound { .. }));
        assert_eq!(
            error.to_string(),
            "no such project: no/such/folder. Give a folder with a wrangler config, a config file, or a .js file"
        );
    }

    #[test]
    fn files_are_told_apart_by_extension() {
        let (_folder, js) = write("a.mjs", "");
        assert_eq!(locate(&js).unwrap(), Located::SingleFile(js));
        let (_folder, toml) = write("other.toml", "");
        assert_eq!(locate(&toml).unwrap(), Located::Config(toml));
        let (_folder, ts) = write("a.ts", "");
        assert!(
            locate(&ts)
                .unwrap_err()
                .to_string()
                .contains("Bundle it first")
        );
        let (_folder, text) = write("a.txt", "");
        assert!(
            locate(&text)
                .unwrap_err()
                .to_string()
                .contains("not a project")
        );
    }

    #[test]
    fn json_allows_comments_and_trailing_commas_and_keeps_order() {
        let (_folder, file) = write(
            "wrangler.json",
            "\u{feff}{ // c\n \"z\": 1, /* d */ \"a\": [1, 2,], }",
        );
        let map = parse(&file).unwrap();
        assert_eq!(Value::Object(map.clone()), json!({ "z": 1, "a": [1, 2] }));
        assert_eq!(map.keys().collect::<Vec<_>>(), ["z", "a"]);
    }

    #[test]
    fn broken_json_points_at_the_place() {
        let (_folder, file) = write(
            "wrangler.jsonc",
            "{\n  \"name\": \"a\"\n  \"main\": \"b\"\n}\n",
        );
        let ConfigError::Syntax {
            line,
            column,
            frame,
            ..
        } = parse(&file).unwrap_err()
        else {
            panic!("not a syntax error");
        };
        assert_eq!(
            (line, frame.lines().next()),
            (2, Some("2 |   \"name\": \"a\"")),
            "column {column}: a missing comma belongs to the line before"
        );
        for text in [
            "{ name: 1 }",
            "{ 'name': 1 }",
            "{} {}",
            "[1]",
            "",
            "{ \"a\": 0x10 }",
        ] {
            let (_folder, file) = write("wrangler.jsonc", text);
            assert!(
                matches!(parse(&file), Err(ConfigError::Syntax { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn toml_gives_the_same_values_as_json() {
        let text = "name = \"a\"\ncompatibility_date = 2026-01-01\n[[services]]\nbinding = \"B\"\n[vars]\nN = 1.5\n";
        let (_folder, file) = write("wrangler.toml", text);
        assert_eq!(
            Value::Object(parse(&file).unwrap()),
            json!({ "name": "a", "compatibility_date": "2026-01-01", "services": [{ "binding": "B" }], "vars": { "N": 1.5 } })
        );
    }

    #[test]
    fn broken_toml_points_at_the_place() {
        let (_folder, file) = write("wrangler.toml", "name = \"a\"\nmain = = 1\n");
        let ConfigError::Syntax {
            line,
            column,
            frame,
            ..
        } = parse(&file).unwrap_err()
        else {
            panic!("not a syntax error");
        };
        assert_eq!((line, column), (2, 8), "{frame}");
    }

    #[test]
    fn text_that_is_not_utf8_is_a_syntax_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("wrangler.json");
        std::fs::write(&file, b"{ \"a\": \"\xff\" }").unwrap();
        assert!(
            parse(&file)
                .unwrap_err()
                .to_string()
                .contains(":1:9: not UTF-8 text")
        );
    }
}
