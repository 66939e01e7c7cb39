//! Typed reading of a parsed config, where every value knows its key path.
//!
//! Dropped: serde derive. Its errors name neither the path nor both types, and the texts are what
//! users see of this crate: `durable_objects.bindings[0].class_name: expected a string, found number`.
//! Always true: a `null` reads as absent.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::ConfigError;

/// One value of the config and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Field<'a> {
    pub file: &'a Path,
    /// Such as `env.staging.services[1].props`.
    pub path: String,
    pub value: &'a Value,
}

/// A JSON object of the config and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Object<'a> {
    pub file: &'a Path,
    pub path: String,
    pub map: &'a Map<String, Value>,
}

impl<'a> Field<'a> {
    /// An error that names this value.
    pub fn invalid(&self, message: impl Into<String>) -> ConfigError {
        ConfigError::invalid(self.file, &self.path, message)
    }

    pub fn expected(&self, what: &str) -> ConfigError {
        self.invalid(format!("expected {what}, found {}", kind(self.value)))
    }

    pub fn string(&self) -> Result<&'a str, ConfigError> {
        self.value.as_str().ok_or_else(|| self.expected("a string"))
    }

    /// A string with something in it: names of bindings, classes, files.
    pub fn name(&self) -> Result<&'a str, ConfigError> {
        match self.string()? {
            "" => Err(self.invalid("must not be empty")),
            text => Ok(text),
        }
    }

    pub fn boolean(&self) -> Result<bool, ConfigError> {
        self.value
            .as_bool()
            .ok_or_else(|| self.expected("true or false"))
    }

    /// A whole number of at least 1. `5.0` counts as whole: TOML and JavaScript writers produce it.
    pub fn positive(&self) -> Result<u64, ConfigError> {
        let Value::Number(number) = self.value else {
            return Err(self.expected("a number"));
        };
        /// Above this, f64 no longer tells whole numbers apart.
        const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
        let whole = number.as_u64().or_else(|| {
            let float = number.as_f64()?;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "checked to be whole and in range"
            )]
            (float.fract() == 0.0 && (0.0..EXACT_MAX).contains(&float)).then_some(float as u64)
        });
        match whole {
            Some(whole) if whole > 0 => Ok(whole),
            _ => Err(self.invalid(format!(
                "expected a whole number greater than 0, found {number}"
            ))),
        }
    }

    pub fn object(&self) -> Result<Object<'a>, ConfigError> {
        match self.value {
            Value::Object(map) => Ok(Object {
                file: self.file,
                path: self.path.clone(),
                map,
            }),
            _ => Err(self.expected("an object")),
        }
    }

    pub fn items(&self) -> Result<Vec<Field<'a>>, ConfigError> {
        let Value::Array(values) = self.value else {
            return Err(self.expected("an array"));
        };
        let item = |(at, value)| Field {
            file: self.file,
            path: format!("{}[{at}]", self.path),
            value,
        };
        Ok(values.iter().enumerate().map(item).collect())
    }

    pub fn strings(&self) -> Result<Vec<String>, ConfigError> {
        self.items()?
            .iter()
            .map(|item| item.string().map(str::to_owned))
            .collect()
    }
}

impl<'a> Object<'a> {
    pub fn get(&self, key: &str) -> Option<Field<'a>> {
        let value = self.map.get(key).filter(|value| !value.is_null())?;
        Some(Field {
            file: self.file,
            path: self.path_of(key),
            value,
        })
    }

    pub fn required(&self, key: &str) -> Result<Field<'a>, ConfigError> {
        self.get(key).ok_or_else(|| {
            ConfigError::invalid(self.file, self.path_of(key), "missing; this entry needs it")
        })
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read<T>(
        value: &Value,
        read: impl Fn(&Field) -> Result<T, ConfigError>,
    ) -> Result<T, String> {
        read(&Field {
            file: Path::new("w.json"),
            path: "a.b".into(),
            value,
        })
        .map_err(|error| error.to_string())
    }

    #[test]
    fn wrong_types_name_the_path_and_both_types() {
        assert_eq!(
            read(&json!(1), |f| f.string().map(drop)),
            Err("w.json: a.b: expected a string, found number".into())
        );
        assert_eq!(
            read(&json!("x"), |f| f.boolean()),
            Err("w.json: a.b: expected true or false, found string".into())
        );
        assert_eq!(
            read(&json!([]), |f| f.object().map(drop)),
            Err("w.json: a.b: expected an object, found array".into())
        );
        assert_eq!(
            read(&json!({}), |f| f.items().map(drop)),
            Err("w.json: a.b: expected an array, found object".into())
        );
        assert_eq!(
            read(&json!(["x", true]), |f| f.strings()),
            Err("w.json: a.b[1]: expected a string, found boolean".into())
        );
        assert_eq!(
            read(&json!(""), |f| f.name().map(drop)),
            Err("w.json: a.b: must not be empty".into())
        );
    }

    #[test]
    fn limits_are_whole_and_positive() {
        assert_eq!(read(&json!(7), |f| f.positive()), Ok(7));
        assert_eq!(read(&json!(7.0), |f| f.positive()), Ok(7));
        for bad in [json!(0), json!(-1), json!(1.5), json!(1e300)] {
            assert!(
                read(&bad, |f| f.positive())
                    .unwrap_err()
                    .contains("expected a whole number"),
                "{bad}"
            );
        }
    }

    #[test]
    fn null_reads_as_absent() {
        let value = json!({ "a": null });
        let field = Field {
            file: Path::new("w.json"),
            path: String::new(),
            value: &value,
        };
        let object = field.object().unwrap();
        assert!(object.get("a").is_none());
        assert_eq!(
            object.required("a").unwrap_err().to_string(),
            "w.json: a: missing; this entry needs it"
        );
    }
}
