//! Compares an answer with what a step expects, probe by probe, and says where they differ.

use serde_json::Value;

use super::case::{Body, Expect};
use super::report::Outcome;
use crate::harness::{Request, Response};

/// Where two long answers differ in many places, the first few say enough.
const DIFFERENCES_SHOWN_MAX: usize = 6;
const VALUE_CHARS_SHOWN_MAX: usize = 600;

pub fn answer(
    outcome: &mut Outcome,
    at: usize,
    request: &Request,
    expect: &Expect,
    answer: &Response,
    several_steps: bool,
) {
    let place = if several_steps {
        format!("step {at}: ")
    } else {
        String::new()
    };
    let whole = format!("{} {}", request.method, request.path);
    let mut wrong = Vec::new();
    if u64::from(answer.status) != expect.status {
        wrong.push(format!(
            "status should be {}, is {}",
            expect.status, answer.status
        ));
    }
    for (name, value) in &expect.headers {
        let seen = answer.header_all(name);
        let right = match value {
            Value::Null => seen.is_empty(),
            Value::Array(values) => values
                .iter()
                .filter_map(Value::as_str)
                .eq(seen.iter().copied()),
            value => value.as_str() == Some(seen.join(", ").as_str()),
        };
        if !right {
            wrong.push(format!("header {name} should be {value}, is {seen:?}"));
        }
    }
    match &expect.body {
        Body::Any => {}
        Body::Text(text) => {
            if *text != answer.text() {
                wrong.push(format!(
                    "body should be {text:?}, is {:?}",
                    shortened(&answer.text())
                ));
            }
        }
        Body::Json(Value::Object(expected)) => {
            let Ok(Value::Object(actual)) = answer.json() else {
                let why = format!(
                    "{place}{}{whole} should answer with a JSON object, not {:?}",
                    joined(&wrong),
                    shortened(&answer.text())
                );
                outcome.all_failed(expected.len(), "(answer)", &why);
                return;
            };
            for (probe, expected) in expected {
                match actual.get(probe) {
                    Some(actual) => outcome.check(probe, same(expected, actual), || {
                        format!("{place}{}", differences(expected, actual))
                    }),
                    None => outcome.check(probe, false, || format!("{place}no answer")),
                }
            }
            for probe in actual.keys().filter(|probe| !expected.contains_key(*probe)) {
                outcome.check(probe, false, || {
                    format!("{place}not recorded: run record.mjs --update")
                });
            }
            // The probes are counted; what is around them counts only when it is wrong.
            if !wrong.is_empty() {
                outcome.check(&whole, false, || format!("{place}{}", wrong.join("; ")));
            }
            return;
        }
        Body::Json(expected) => match answer.json() {
            Ok(actual) if same(expected, &actual) => {}
            Ok(actual) => wrong.push(differences(expected, &actual)),
            Err(_) => wrong.push(format!(
                "body should be JSON, is {:?}",
                shortened(&answer.text())
            )),
        },
    }
    outcome.check(&whole, wrong.is_empty(), || {
        format!("{place}{}", wrong.join("; "))
    });
}

fn joined(wrong: &[String]) -> String {
    wrong.iter().map(|text| format!("{text}; ")).collect()
}

/// Equal as JS sees them: 1 and 1.0 are one number, and keys have no order.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

/// One line per place that differs, the deepest place that does.
fn differences(expected: &Value, actual: &Value) -> String {
    let mut found = Vec::new();
    find("", expected, actual, &mut found);
    let more = found.len().saturating_sub(DIFFERENCES_SHOWN_MAX);
    found.truncate(DIFFERENCES_SHOWN_MAX);
    if more > 0 {
        found.push(format!("... and {more} more"));
    }
    found.join("\n      ")
}

fn find(path: &str, expected: &Value, actual: &Value, found: &mut Vec<String>) {
    match (expected, actual) {
        (expected, actual) if same(expected, actual) => {}
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                find(&format!("{path}[{at}]"), a, b, found);
            }
        }
        (Value::Object(a), Value::Object(b)) if a.keys().any(|key| b.contains_key(key)) => {
            for (key, a) in a {
                match b.get(key) {
                    Some(b) => find(&format!("{path}.{key}"), a, b, found),
                    None => found.push(format!("{path}.{key}: expected {}, is missing", shown(a))),
                }
            }
            for (key, b) in b.iter().filter(|(key, _)| !a.contains_key(*key)) {
                found.push(format!("{path}.{key}: unexpected {}", shown(b)));
            }
        }
        (expected, actual) => {
            let path = if path.is_empty() {
                String::new()
            } else {
                format!("{path}: ")
            };
            found.push(format!(
                "{path}expected {}\n      {:width$}actual   {}",
                shown(expected),
                "",
                shown(actual),
                width = path.len()
            ));
        }
    }
}

fn shown(value: &Value) -> String {
    shortened(&value.to_string())
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(VALUE_CHARS_SHOWN_MAX) {
        Some((at, _)) => format!("{}... ({} bytes)", &text[..at], text.len()),
        None => text.to_string(),
    }
}
