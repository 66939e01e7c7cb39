//! Which module type a file is, by its name.
//!
//! Owns: the default types and the `rules` of the config. User rules come first, in order; a rule of
//! a type that does not say `fallthrough: true` ends that type: later rules and the defaults of the
//! same type no longer apply, as in wrangler. The defaults go by extension, so that the common
//! project builds no glob at all.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::error::ConfigError;
use crate::project::ModuleKind;
use crate::settings::Settings;
use crate::value::Field;

#[derive(Debug, Default)]
pub(crate) struct Rules {
    user: Vec<(GlobSet, ModuleKind)>,
    /// Types whose default rule does not apply.
    replaced: Vec<ModuleKind>,
}

impl Rules {
    pub fn parse(settings: &Settings, warnings: &mut Vec<String>) -> Result<Self, ConfigError> {
        let mut rules = Self::default();
        let Some(field) = settings.get("rules") else {
            return Ok(rules);
        };
        for item in field.items()? {
            let rule = item.object()?;
            let kind = parse_kind(&rule.required("type")?)?;
            let globs = globs(&rule.required("globs")?)?;
            let fallthrough = rule
                .get("fallthrough")
                .map_or(Ok(false), |field| field.boolean())?;
            if rules.replaced.contains(&kind) {
                warnings.push(format!(
                    "{} has no effect: an earlier rule of this type does not set \"fallthrough\": true",
                    item.path
                ));
                continue;
            }
            rules.user.push((globs, kind));
            if !fallthrough {
                rules.replaced.push(kind);
            }
        }
        Ok(rules)
    }

    /// `name` is a path below the base directory, with `/`. `None`: not a module.
    pub fn kind_of(&self, name: &str) -> Option<ModuleKind> {
        let user = self
            .user
            .iter()
            .find(|(globs, _)| globs.is_match(name))
            .map(|(_, kind)| *kind);
        user.or_else(|| default_kind(name).filter(|kind| !self.replaced.contains(kind)))
    }
}

fn default_kind(name: &str) -> Option<ModuleKind> {
    let extension = name.rsplit('/').next()?.rsplit_once('.')?.1;
    Some(match extension {
        "js" | "mjs" => ModuleKind::EsModule,
        "cjs" => ModuleKind::CommonJs,
        "wasm" | "wasm?module" => ModuleKind::Wasm,
        "txt" | "html" | "sql" => ModuleKind::Text,
        "bin" => ModuleKind::Data,
        "json" => ModuleKind::Json,
        _ => return None,
    })
}

/// The type names of wrangler, and `JSON`, for which wrangler needs no name.
pub(crate) fn parse_kind(field: &Field) -> Result<ModuleKind, ConfigError> {
    Ok(match field.string()? {
        "ESModule" => ModuleKind::EsModule,
        "CommonJS" => ModuleKind::CommonJs,
        "CompiledWasm" => ModuleKind::Wasm,
        "Text" => ModuleKind::Text,
        "Data" => ModuleKind::Data,
        "JSON" | "Json" => ModuleKind::Json,
        "PythonModule" | "PythonRequirement" => {
            return Err(field.invalid("Python Workers are not supported."));
        }
        other => {
            return Err(field.invalid(format!(
                "unknown module type \"{other}\": use ESModule, CommonJS, CompiledWasm, Text, Data or JSON"
            )));
        }
    })
}

fn globs(field: &Field) -> Result<GlobSet, ConfigError> {
    let mut set = GlobSetBuilder::new();
    for item in field.items()? {
        let pattern = item.name()?;
        let glob = GlobBuilder::new(pattern.strip_prefix("./").unwrap_or(pattern))
            .literal_separator(true)
            .build()
            .map_err(|error| item.invalid(format!("not a glob: {}", error.kind())))?;
        set.add(glob);
    }
    set.build()
        .map_err(|error| field.invalid(format!("not a list of globs: {error}")))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;

    fn parse(rules: &Value) -> Result<(Rules, Vec<String>), String> {
        let config = json!({ "rules": rules });
        let mut warnings = Vec::new();
        let settings = Settings::select(
            Path::new("w.json"),
            config.as_object().unwrap(),
            None,
            &mut warnings,
        )
        .unwrap();
        let rules = Rules::parse(&settings, &mut warnings).map_err(|error| error.to_string())?;
        Ok((rules, warnings))
    }

    #[test]
    fn defaults_go_by_extension() {
        let rules = Rules::default();
        for (name, kind) in [
            ("a.js", Some(ModuleKind::EsModule)),
            ("lib/a.mjs", Some(ModuleKind::EsModule)),
            ("a.cjs", Some(ModuleKind::CommonJs)),
            ("a.wasm", Some(ModuleKind::Wasm)),
            ("a.wasm?module", Some(ModuleKind::Wasm)),
            ("a.txt", Some(ModuleKind::Text)),
            ("a.html", Some(ModuleKind::Text)),
            ("a.sql", Some(ModuleKind::Text)),
            ("a.bin", Some(ModuleKind::Data)),
            ("a.json", Some(ModuleKind::Json)),
            ("a.ts", None),
            ("dir.js/file", None),
            ("README", None),
        ] {
            assert_eq!(rules.kind_of(name), kind, "{name}");
        }
    }

    #[test]
    fn a_user_rule_replaces_the_default_of_its_type_unless_it_falls_through() {
        let (rules, _) = parse(&json!([{ "type": "Text", "globs": ["**/*.md"] }])).unwrap();
        assert_eq!(rules.kind_of("docs/a.md"), Some(ModuleKind::Text));
        assert_eq!(rules.kind_of("a.txt"), None, "replaced");
        assert_eq!(
            rules.kind_of("a.bin"),
            Some(ModuleKind::Data),
            "other types keep their default"
        );
        let (rules, _) =
            parse(&json!([{ "type": "Text", "globs": ["**/*.md"], "fallthrough": true }])).unwrap();
        assert_eq!(rules.kind_of("a.txt"), Some(ModuleKind::Text));
    }

    #[test]
    fn user_rules_come_first_and_in_order() {
        let (rules, warnings) = parse(&json!([
            { "type": "Data", "globs": ["./raw/*.js"] },
            { "type": "Text", "globs": ["raw/**"], "fallthrough": true },
            { "type": "Data", "globs": ["**/*.dat"] }
        ]))
        .unwrap();
        assert_eq!(rules.kind_of("raw/a.js"), Some(ModuleKind::Data));
        assert_eq!(
            rules.kind_of("raw/deep/a.js"),
            Some(ModuleKind::Text),
            "* does not cross folders"
        );
        assert_eq!(rules.kind_of("a.dat"), None);
        assert_eq!(
            warnings,
            [
                "rules[2] has no effect: an earlier rule of this type does not set \"fallthrough\": true"
            ]
        );
    }

    #[test]
    fn bad_rules_are_errors() {
        for (rule, text) in [
            (
                json!({ "type": "Javascript", "globs": [] }),
                "w.json: rules[0].type: unknown module type \"Javascript\": use ESModule, CommonJS, CompiledWasm, Text, Data or JSON",
            ),
            (
                json!({ "type": "PythonModule", "globs": [] }),
                "w.json: rules[0].type: Python Workers are not supported.",
            ),
            (
                json!({ "type": "Text" }),
                "w.json: rules[0].globs: missing; this entry needs it",
            ),
            (
                json!({ "type": "Text", "globs": "*.md" }),
                "w.json: rules[0].globs: expected an array, found string",
            ),
        ] {
            assert_eq!(parse(&json!([rule])).map(drop), Err(text.to_owned()));
        }
        assert!(
            parse(&json!([{ "type": "Text", "globs": ["a["] }]))
                .unwrap_err()
                .contains("rules[0].globs[0]: not a glob")
        );
    }
}
