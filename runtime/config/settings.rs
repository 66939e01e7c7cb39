//! A parsed config seen through the selected environment, and what facetd makes of each key.
//!
//! Owns: the list of known keys, the inheritance rules of `env.<name>`, warnings about keys that are
//! unknown or not supported. Rules: an environment's value replaces the top-level one; what it does
//! not set falls back to the top level, except bindings and `vars`, which never inherit.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::ConfigError;
use crate::value::{Field, Object};

/// What facetd does with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Read here; inherited by environments.
    Setting,
    /// Read here; adds names to `env`, so environments must repeat it.
    Binding,
    /// Meaningless or harmless here: accepted in silence.
    Ignored,
    /// Something facetd intends to do later: a warning.
    Later,
    /// A binding facetd does not have: a warning, the name stays undefined.
    Unsupported,
}

const KEYS: &[(&str, Use)] = &[
    ("$schema", Use::Ignored),
    ("account_id", Use::Ignored),
    ("ai", Use::Unsupported),
    ("ai_search", Use::Unsupported),
    ("ai_search_namespaces", Use::Unsupported),
    ("alias", Use::Later),
    ("analytics_engine_datasets", Use::Unsupported),
    ("artifacts", Use::Unsupported),
    ("assets", Use::Setting),
    ("base_dir", Use::Setting),
    ("browser", Use::Unsupported),
    ("build", Use::Later),
    ("cloudchamber", Use::Unsupported),
    ("compatibility_date", Use::Setting),
    ("compatibility_flags", Use::Setting),
    ("compliance_region", Use::Ignored),
    ("containers", Use::Unsupported),
    ("d1_databases", Use::Unsupported),
    ("data_blobs", Use::Unsupported),
    ("define", Use::Later),
    ("dev", Use::Setting),
    ("dispatch_namespaces", Use::Unsupported),
    ("durable_objects", Use::Binding),
    ("env", Use::Setting),
    ("facetd", Use::Setting),
    ("find_additional_modules", Use::Setting),
    ("first_party_worker", Use::Ignored),
    ("flagship", Use::Unsupported),
    ("hyperdrive", Use::Unsupported),
    ("images", Use::Unsupported),
    ("jsx_factory", Use::Ignored),
    ("jsx_fragment", Use::Ignored),
    ("keep_names", Use::Ignored),
    ("keep_vars", Use::Ignored),
    ("kv_namespaces", Use::Binding),
    ("legacy_env", Use::Ignored),
    ("limits", Use::Setting),
    ("logfwdr", Use::Unsupported),
    ("logpush", Use::Ignored),
    ("main", Use::Setting),
    ("media", Use::Unsupported),
    ("migrations", Use::Setting),
    ("minify", Use::Ignored),
    ("mtls_certificates", Use::Unsupported),
    ("name", Use::Setting),
    ("no_bundle", Use::Setting),
    ("observability", Use::Ignored),
    ("pages_build_output_dir", Use::Later),
    ("pipelines", Use::Unsupported),
    ("placement", Use::Ignored),
    ("preserve_file_names", Use::Ignored),
    ("preview_urls", Use::Ignored),
    ("previews", Use::Ignored),
    ("python_modules", Use::Later),
    ("queues", Use::Unsupported),
    ("r2_buckets", Use::Unsupported),
    ("ratelimits", Use::Unsupported),
    ("route", Use::Ignored),
    ("routes", Use::Ignored),
    ("rules", Use::Setting),
    ("secrets", Use::Ignored),
    ("secrets_store_secrets", Use::Unsupported),
    ("send_email", Use::Unsupported),
    ("send_metrics", Use::Ignored),
    ("services", Use::Binding),
    ("site", Use::Later),
    ("stream", Use::Unsupported),
    ("streaming_tail_consumers", Use::Later),
    ("tail_consumers", Use::Binding),
    ("text_blobs", Use::Unsupported),
    ("triggers", Use::Setting),
    ("tsconfig", Use::Ignored),
    ("unsafe", Use::Later),
    ("unsafe_hello_world", Use::Unsupported),
    ("upload_source_maps", Use::Ignored),
    ("vars", Use::Binding),
    ("vectorize", Use::Unsupported),
    ("version_metadata", Use::Unsupported),
    ("vpc_networks", Use::Unsupported),
    ("vpc_services", Use::Unsupported),
    ("wasm_modules", Use::Unsupported),
    ("worker_loaders", Use::Binding),
    ("workers_dev", Use::Ignored),
    ("workflows", Use::Unsupported),
];

/// The keys below `"facetd"`. Only `durable_object_classes` makes bindings.
const FACETD_KEYS: [&str; 11] = [
    "modules",
    "durable_object_classes",
    "limits",
    "dynamic_limits",
    "instances",
    "durability",
    "history",
    "evict_after_ms",
    "mailbox",
    "egress",
    "confine",
];

fn usage(key: &str) -> Option<Use> {
    KEYS.iter()
        .find(|(known, _)| *known == key)
        .map(|(_, usage)| *usage)
}

/// The config as one environment sees it.
#[derive(Debug)]
pub(crate) struct Settings<'a> {
    top: Object<'a>,
    env: Option<Environment<'a>>,
}

#[derive(Debug)]
struct Environment<'a> {
    name: &'a str,
    object: Object<'a>,
}

impl<'a> Settings<'a> {
    /// Selects environment `env` of `config`. A config without any environments is used as it is,
    /// with a warning: one of several projects need not know the others' environments.
    ///
    /// # Errors
    /// `Invalid` if there are environments but not this one.
    pub fn select(
        file: &'a Path,
        config: &'a Map<String, Value>,
        env: Option<&'a str>,
        warnings: &mut Vec<String>,
    ) -> Result<Self, ConfigError> {
        let top = Object {
            file,
            path: String::new(),
            map: config,
        };
        let environments = top.get("env").map(|field| field.object()).transpose()?;
        let env = match (env, environments) {
            (None, _) => None,
            (Some(name), Some(environments)) if !environments.map.is_empty() => match environments
                .get(name)
            {
                Some(field) => Some(Environment {
                    name,
                    object: field.object()?,
                }),
                None => {
                    let names: Vec<&str> = environments.map.keys().map(String::as_str).collect();
                    let message =
                        format!("no environment \"{name}\"; there are: {}", names.join(", "));
                    return Err(ConfigError::invalid(file, "env", message));
                }
            },
            (Some(name), _) => {
                warnings.push(format!(
                    "{} has no environments: \"{name}\" is ignored",
                    shown(file)
                ));
                None
            }
        };
        let settings = Self { top, env };
        settings.warn(warnings);
        Ok(settings)
    }

    pub fn file(&self) -> &'a Path {
        self.top.file
    }

    /// The selected environment, if the config has it.
    pub fn env_name(&self) -> Option<&'a str> {
        self.env.as_ref().map(|env| env.name)
    }

    /// The value of a known key, after inheritance.
    pub fn get(&self, key: &str) -> Option<Field<'a>> {
        debug_assert!(
            usage(key).is_some_and(|usage| usage != Use::Ignored),
            "{key} is read, so it must be known"
        );
        let Some(env) = &self.env else {
            return self.top.get(key);
        };
        env.object.get(key).or_else(|| {
            if usage(key) == Some(Use::Binding) {
                None
            } else {
                self.top.get(key)
            }
        })
    }

    /// `name` without inheritance: an environment's own name, else the top level's.
    pub fn own_name(&self) -> (Option<Field<'a>>, Option<Field<'a>>) {
        (
            self.env.as_ref().and_then(|env| env.object.get("name")),
            self.top.get("name"),
        )
    }

    /// A key below `"facetd"`, with the same rules of inheritance.
    pub fn facetd(&self, key: &str) -> Result<Option<Field<'a>>, ConfigError> {
        debug_assert!(
            FACETD_KEYS.contains(&key),
            "{key} is read, so it must be known"
        );
        let below = |object: &Object<'a>| -> Result<Option<Field<'a>>, ConfigError> {
            let Some(facetd) = object.get("facetd") else {
                return Ok(None);
            };
            Ok(facetd.object()?.get(key))
        };
        match &self.env {
            None => below(&self.top),
            Some(env) => match below(&env.object)? {
                Some(field) => Ok(Some(field)),
                None if key == "durable_object_classes" => Ok(None),
                None => below(&self.top),
            },
        }
    }

    fn warn(&self, warnings: &mut Vec<String>) {
        let file = shown(self.file());
        let objects = std::iter::once(&self.top).chain(self.env.as_ref().map(|env| &env.object));
        for object in objects {
            for key in object.map.keys() {
                if usage(key).is_none() {
                    let known = KEYS.iter().map(|(known, _)| *known);
                    let path = if object.path.is_empty() {
                        key.clone()
                    } else {
                        format!("{}.{key}", object.path)
                    };
                    warnings.push(format!(
                        "unknown key \"{path}\" in {file}{}",
                        did_you_mean(key, known)
                    ));
                }
            }
            let facetd = object.get("facetd").and_then(|field| field.object().ok());
            for key in facetd.iter().flat_map(|facetd| facetd.map.keys()) {
                if !FACETD_KEYS.contains(&key.as_str()) {
                    let suggestion = did_you_mean(key, FACETD_KEYS.into_iter());
                    warnings.push(format!(
                        "unknown key \"facetd.{key}\" in {file}{suggestion}"
                    ));
                }
            }
        }
        for (key, usage) in KEYS {
            let seen = self.env.as_ref().and_then(|env| env.object.get(key));
            let seen = seen.or_else(|| {
                let inherits =
                    self.env.is_none() || !matches!(usage, Use::Binding | Use::Unsupported);
                self.top.get(key).filter(|_| inherits)
            });
            let Some(field) = seen.filter(|field| !is_empty(field.value)) else {
                continue;
            };
            match usage {
                Use::Later => warnings.push(format!(
                    "\"{}\" in {file} is not supported yet and has no effect",
                    field.path
                )),
                Use::Unsupported => warnings.push(format!(
                    "\"{}\" in {file} is not supported: its bindings stay undefined in env",
                    field.path
                )),
                Use::Setting | Use::Binding | Use::Ignored => {}
            }
        }
        let Some(env) = &self.env else { return };
        for (key, _) in KEYS.iter().filter(|(_, usage)| *usage == Use::Binding) {
            if self
                .top
                .get(key)
                .is_some_and(|field| !is_empty(field.value))
                && env.object.get(key).is_none()
            {
                warnings.push(format!(
                    "\"{key}\" is set at the top level of {file} but not in \"env.{}\", which does not inherit it",
                    env.name
                ));
            }
        }
    }
}

/// How warnings name a config: by its file name, as the folder is what the user typed.
pub(crate) fn shown(file: &Path) -> String {
    file.file_name()
        .unwrap_or(file.as_os_str())
        .to_string_lossy()
        .into_owned()
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// ` (did you mean "vars"?)`, or nothing if no known key is near.
pub(crate) fn did_you_mean<'k>(key: &str, known: impl Iterator<Item = &'k str>) -> String {
    // `compatibilityDate` and `compatibility-date` are distance 0 from `compatibility_date`.
    let plain = |text: &str| text.replace(['_', '-'], "").to_lowercase();
    let wanted = plain(key);
    let distance_max = (wanted.chars().count() / 3).clamp(1, 3);
    known
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&wanted, &plain(candidate)),
                candidate,
            )
        })
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= distance_max)
        .map(|(_, candidate)| format!(" (did you mean \"{candidate}\"?)"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with<T>(
        config: &Value,
        env: Option<&str>,
        check: impl Fn(&Settings, &[String]) -> T,
    ) -> Result<T, String> {
        let mut warnings = Vec::new();
        let map = config.as_object().unwrap();
        let settings = Settings::select(Path::new("p/wrangler.jsonc"), map, env, &mut warnings)
            .map_err(|error| error.to_string())?;
        Ok(check(&settings, &warnings))
    }

    fn warnings(config: &Value, env: Option<&str>) -> Vec<String> {
        with(config, env, |_, warnings| warnings.to_vec()).unwrap()
    }

    #[test]
    fn unknown_keys_warn_and_suggest() {
        assert_eq!(
            warnings(
                &json!({ "var": {}, "compatibilityDate": "x", "zzzzzzz": 1, "facetd": { "limit": {} } }),
                None
            ),
            [
                "unknown key \"var\" in wrangler.jsonc (did you mean \"vars\"?)",
                "unknown key \"compatibilityDate\" in wrangler.jsonc (did you mean \"compatibility_date\"?)",
                "unknown key \"zzzzzzz\" in wrangler.jsonc",
                "unknown key \"facetd.limit\" in wrangler.jsonc (did you mean \"limits\"?)",
            ]
        );
    }

    #[test]
    fn unsupported_keys_warn_and_ignored_ones_do_not() {
        assert_eq!(
            warnings(
                &json!({ "$schema": "x", "routes": ["a"], "ai": { "binding": "AI" }, "alias": { "a": "b" }, "r2_buckets": [] }),
                None
            ),
            [
                "\"ai\" in wrangler.jsonc is not supported: its bindings stay undefined in env",
                "\"alias\" in wrangler.jsonc is not supported yet and has no effect",
            ],
            "an empty list asks for nothing"
        );
    }

    #[test]
    fn settings_inherit_and_bindings_do_not() {
        let config = json!({
            "main": "a.js", "limits": { "cpu_ms": 1 }, "vars": { "A": 1 }, "services": [{}],
            "facetd": { "durability": "fsync", "instances": 2, "durable_object_classes": [] },
            "env": { "prod": { "limits": { "cpu_ms": 2 }, "services": [], "facetd": { "instances": 3 } } }
        });
        with(&config, Some("prod"), |settings, warnings| {
            let path = |key| settings.get(key).map(|field| field.path);
            assert_eq!(path("main").as_deref(), Some("main"));
            assert_eq!(path("limits").as_deref(), Some("env.prod.limits"));
            assert_eq!(path("services").as_deref(), Some("env.prod.services"));
            assert_eq!(path("vars"), None, "vars must be repeated");
            let facetd = |key| settings.facetd(key).unwrap().map(|field| field.path);
            assert_eq!(facetd("durability").as_deref(), Some("facetd.durability"));
            assert_eq!(facetd("instances").as_deref(), Some("env.prod.facetd.instances"));
            assert_eq!(facetd("durable_object_classes"), None, "these are bindings too");
            assert_eq!(
                warnings,
                ["\"vars\" is set at the top level of wrangler.jsonc but not in \"env.prod\", which does not inherit it"]
            );
        })
        .unwrap();
    }

    #[test]
    fn an_unknown_environment_is_an_error_unless_there_are_none() {
        assert_eq!(
            with(
                &json!({ "env": { "a": {}, "b": {} } }),
                Some("c"),
                |_, _| ()
            ),
            Err("p/wrangler.jsonc: env: no environment \"c\"; there are: a, b".into())
        );
        assert_eq!(
            warnings(&json!({}), Some("c")),
            ["wrangler.jsonc has no environments: \"c\" is ignored"]
        );
    }
}
