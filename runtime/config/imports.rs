//! Finds the module specifiers a JavaScript file mentions.
//!
//! Deliberately finds too many: every string literal that follows `from`, `import`, `import(` or
//! `require(` counts, also inside comments and strings. That is harmless, as a specifier matters only if
//! a file of that name exists, and V8 has the last word on what is really imported. In return no
//! JavaScript needs to be parsed: no regex-or-division question, no dependency, one pass over the
//! quotes of the file. Not found: computed specifiers and ones with escapes; for these there is
//! `find_additional_modules`.

/// Longer specifiers are data that happens to follow the word "from".
const SPECIFIER_BYTES_MAX: usize = 1024;

/// Longest comment between a keyword and its specifier.
const COMMENT_BYTES_MAX: usize = 256;

/// How far back to look for the start of a line: minified files have endless ones.
const LINE_BYTES_MAX: usize = 1024;

/// In order of appearance, repetitions included.
pub(crate) fn specifiers(source: &[u8]) -> Vec<&str> {
    let mut found = Vec::new();
    for (at, quote) in source
        .iter()
        .enumerate()
        .filter(|(_, b)| matches!(b, b'"' | b'\'' | b'`'))
    {
        if !follows_import(&source[..at]) || is_line_comment(&source[..at]) {
            continue;
        }
        let rest = &source[at + 1..];
        let rest = &rest[..rest.len().min(SPECIFIER_BYTES_MAX + 1)];
        let Some(end) = rest
            .iter()
            .position(|b| matches!(b, b'\n' | b'\\') || b == quote)
        else {
            continue;
        };
        if rest[end] != *quote || end == 0 {
            continue;
        }
        let Ok(specifier) = std::str::from_utf8(&rest[..end]) else {
            continue;
        };
        if *quote == b'`' && specifier.contains("${") {
            continue;
        }
        found.push(specifier);
    }
    found
}

fn follows_import(before: &[u8]) -> bool {
    let before = skip_space_and_comments(before);
    match before.strip_suffix(b"(") {
        Some(callee) => {
            let callee = skip_space_and_comments(callee);
            ends_with_word(callee, b"import") || ends_with_word(callee, b"require")
        }
        None => ends_with_word(before, b"from") || ends_with_word(before, b"import"),
    }
}

fn ends_with_word(text: &[u8], word: &[u8]) -> bool {
    let Some(rest) = text.strip_suffix(word) else {
        return false;
    };
    !rest
        .last()
        .is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$'))
}

fn skip_space_and_comments(mut text: &[u8]) -> &[u8] {
    loop {
        text = text.trim_ascii_end();
        let Some(comment) = text.strip_suffix(b"*/") else {
            return text;
        };
        let window = comment.len().saturating_sub(COMMENT_BYTES_MAX);
        let Some(start) = comment[window..].windows(2).rposition(|pair| pair == b"/*") else {
            return text;
        };
        text = &text[..window + start];
    }
}

/// Commented-out imports are common enough to be worth a look at the start of the line.
fn is_line_comment(before: &[u8]) -> bool {
    let window = &before[before.len().saturating_sub(LINE_BYTES_MAX)..];
    let line = match window.iter().rposition(|b| *b == b'\n') {
        Some(newline) => &window[newline + 1..],
        None if window.len() == before.len() => window,
        None => return false,
    };
    line.trim_ascii_start().starts_with(b"//")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_import_is_found() {
        let source = r#"
            import "./side.js";
            import a from './a.js';
            import { b, c as d } from "./b.js";
            import * as e
                from "./e.js";
            export * from"./f.js";export{g}from'./g.js';
            import data from "./data.json" with { type: "json" };
            import source m from "./m.wasm";
            const h = await import("./h.js"), i = import(/* webpackIgnore: true */ `./i.js`);
            const j = require( './j.cjs' );
            import k from /* why */ "./k.js";
        "#;
        assert_eq!(
            specifiers(source.as_bytes()),
            [
                "./side.js",
                "./a.js",
                "./b.js",
                "./e.js",
                "./f.js",
                "./g.js",
                "./data.json",
                "./m.wasm",
                "./h.js",
                "./i.js",
                "./j.cjs",
                "./k.js"
            ]
        );
    }

    #[test]
    fn regexes_and_odd_quotes_do_not_hide_imports() {
        let source = "const r = /[\"'`]/; const s = 'it\\'s'; const t = `a ${'b'} \"`;\nimport x from \"./x.js\";";
        assert_eq!(specifiers(source.as_bytes()), ["./x.js"]);
    }

    #[test]
    fn other_strings_are_not_specifiers() {
        let source = r#"
            // import old from "./old.js";
            const from = "./no1.js"; important("./no2.js"); xfrom "./no3.js"; $import("./no4.js");
            import(`./lang/${name}.js`); import("./esc\u0061pe.js"); from "";
        "#;
        assert_eq!(specifiers(source.as_bytes()), Vec::<&str>::new());
    }

    #[test]
    fn hostile_input_stays_linear_and_does_not_panic() {
        let comments = "*/\"".repeat(20_000);
        let quotes = "from\"".repeat(20_000);
        let not_utf8 = b"import \"\xff\xfe\"";
        assert!(specifiers(comments.as_bytes()).is_empty());
        assert!(!specifiers(quotes.as_bytes()).is_empty());
        assert!(specifiers(not_utf8).is_empty());
    }
}
