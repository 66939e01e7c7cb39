//! A case as read from its folder.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::harness::Request;

/// The date `record.mjs` uses too.
const DEFAULT_DATE: &str = "2026-09-01";

pub struct Case {
    /// `area/name`.
    pub name: String,
    pub folder: PathBuf,
    pub steps: Vec<Step>,
    spec: Value,
}

pub enum Step {
    Ask {
        request: Request,
        expect: Box<Expect>,
    },
    Restart,
    Kill,
}

pub struct Expect {
    pub status: u64,
    pub headers: Map<String, Value>,
    pub body: Body,
}

pub enum Body {
    Json(Value),
    Text(String),
    Any,
}

impl Case {
    /// All cases below `folder`, in the order of their names.
    pub fn find_all(folder: &Path) -> Vec<Self> {
        let mut found = Vec::new();
        collect(folder, folder, &mut found);
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }

    fn read(root: &Path, folder: &Path) -> Self {
        let name = folder
            .strip_prefix(root)
            .expect("the case lies below the root")
            .to_string_lossy()
            .replace('\\', "/");
        let file = folder.join("case.jsonc");
        let spec = read_jsonc(&file);
        let steps = spec["steps"]
            .as_array()
            .unwrap_or_else(|| panic!("{name}: `steps` is missing"));
        let steps = steps
            .iter()
            .enumerate()
            .map(|(at, step)| Step::read(step, &format!("{name}, step {at}")))
            .collect();
        Self {
            name,
            folder: folder.to_path_buf(),
            steps,
            spec,
        }
    }

    /// The Wrangler configuration of a case that brings none.
    pub fn wrangler_config(&self) -> String {
        let bindings = &self.spec["bindings"];
        let entries = |key: &str| bindings[key].as_object().cloned().unwrap_or_default();
        let objects = entries("objects");
        let mut classes: Vec<&Value> = Vec::new();
        for class in objects.values() {
            if !classes.contains(&class) {
                classes.push(class);
            }
        }
        let mut config = json!({
            "name": "conf",
            "main": "worker.js",
            "compatibility_date": self.spec["compatibilityDate"].as_str().unwrap_or(DEFAULT_DATE),
            "compatibility_flags": self.spec["compatibilityFlags"].as_array().cloned().unwrap_or_default(),
            "no_bundle": true,
            "find_additional_modules": true,
            "vars": entries("vars"),
            "durable_objects": { "bindings": objects.iter().map(|(name, class)| json!({ "name": name, "class_name": class })).collect::<Vec<_>>() },
            "worker_loaders": bindings["loaders"].as_array().into_iter().flatten().map(|name| json!({ "binding": name })).collect::<Vec<_>>(),
            "services": entries("services").into_iter().map(|(name, to)| {
                let mut service = json!({ "binding": name, "service": "conf" });
                for key in ["entrypoint", "props"] {
                    if !to[key].is_null() {
                        service[key] = to[key].clone();
                    }
                }
                service
            }).collect::<Vec<_>>(),
            "facetd": { "durable_object_classes": entries("classes").into_iter().map(|(name, class)| {
                let mut binding = json!({ "binding": name, "class_name": class["class"] });
                if !class["props"].is_null() {
                    binding["props"] = class["props"].clone();
                }
                binding
            }).collect::<Vec<_>>() },
        });
        if !classes.is_empty() {
            config["migrations"] = json!([{ "tag": "v1", "new_sqlite_classes": classes }]);
        }
        if !self.spec["rules"].is_null() {
            config["rules"] = self.spec["rules"].clone();
        }
        serde_json::to_string_pretty(&config).expect("JSON can be written")
    }
}

impl Step {
    fn read(step: &Value, place: &str) -> Self {
        if step["restart"] == true {
            return Self::Restart;
        }
        if step["kill"] == true {
            return Self::Kill;
        }
        let wanted = &step["request"];
        assert!(
            wanted.is_object(),
            "{place}: neither `request` nor `restart` nor `kill`"
        );
        let text =
            |key: &str, otherwise: &str| wanted[key].as_str().unwrap_or(otherwise).to_string();
        let mut request =
            Request::new(&text("method", "GET"), &text("path", "/")).body(text("body", ""));
        for (name, value) in wanted["headers"].as_object().into_iter().flatten() {
            request = request.header(
                name,
                value
                    .as_str()
                    .unwrap_or_else(|| panic!("{place}: header {name} is no string")),
            );
        }
        let expect = &step["expect"];
        let body = match (expect.get("json"), expect.get("text")) {
            (Some(recorded), None) => Body::Json(with_ours(recorded, &step["ours"])),
            (None, Some(text)) => Body::Text(
                text.as_str()
                    .unwrap_or_else(|| panic!("{place}: `text` is no string"))
                    .into(),
            ),
            (None, None) => Body::Any,
            (Some(_), Some(_)) => panic!("{place}: `json` and `text` exclude each other"),
        };
        let expect = Box::new(Expect {
            status: expect["status"]
                .as_u64()
                .unwrap_or_else(|| panic!("{place}: not recorded yet (no `status`)")),
            headers: expect["headers"].as_object().cloned().unwrap_or_default(),
            body,
        });
        Self::Ask { request, expect }
    }

    /// How many probes the step counts as.
    pub fn probes(&self) -> usize {
        match self {
            Self::Ask { expect, .. } => match &expect.body {
                Body::Json(Value::Object(probes)) => probes.len(),
                _ => 1,
            },
            Self::Restart | Self::Kill => 0,
        }
    }
}

/// The recorded answers, with our own decisions laid over them probe by probe.
fn with_ours(recorded: &Value, ours: &Value) -> Value {
    let mut merged = recorded.clone();
    for (probe, answer) in ours.as_object().into_iter().flatten() {
        merged[probe.as_str()] = answer.clone();
    }
    merged
}

pub fn read_jsonc(file: &Path) -> Value {
    let text =
        fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    jsonc_parser::parse_to_serde_value(&text, &jsonc_parser::ParseOptions::default())
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<Case>) {
    if folder.join("case.jsonc").exists() {
        found.push(Case::read(root, folder));
        return;
    }
    for entry in fs::read_dir(folder).expect("the cases can be read") {
        let path = entry.expect("the cases can be read").path();
        if path.is_dir() {
            collect(root, &path, found);
        }
    }
}
