//! Whole projects in temporary folders: what a user writes, and what comes out.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::*;

struct Folder(tempfile::TempDir);

impl Folder {
    /// `files`: path and text.
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            folder.write(name, text);
        }
        folder
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self) -> Result<Project, ConfigError> {
        load(self.0.path(), &LoadOptions::default())
    }

    fn load_env(&self, env: &str) -> Result<Project, ConfigError> {
        load(
            self.0.path(),
            &LoadOptions {
                env: Some(env.into()),
                vars: Vec::new(),
            },
        )
    }

    /// The error without the temporary folder's name.
    fn error(&self) -> String {
        self.load()
            .unwrap_err()
            .to_string()
            .replace(&self.real().display().to_string(), "~")
            .replace(&self.0.path().display().to_string(), "~")
    }

    fn real(&self) -> PathBuf {
        self.0.path().canonicalize().unwrap()
    }
}

const MAIN: (&str, &str) = ("index.js", "export default {}");

/// A config with name, main and date, and `more` over it.
fn config(more: Value) -> String {
    let mut config = json!({ "name": "w", "main": "index.js", "compatibility_date": "2026-04-01" });
    let Value::Object(more) = more else {
        panic!("an object")
    };
    for (key, value) in more {
        config[key] = value;
    }
    config.to_string()
}

/// A project of one module with that config.
fn project(more: Value) -> Folder {
    Folder::new(&[MAIN, ("wrangler.jsonc", &config(more))])
}

fn worker(more: Value) -> WorkerConfig {
    project(more).load().unwrap().workers.remove(0)
}

fn names(worker: &WorkerConfig) -> Vec<&str> {
    worker
        .modules
        .iter()
        .map(|module| module.name.as_str())
        .collect()
}

#[test]
fn a_small_project_loads() {
    let folder = project(json!({
        "durable_objects": { "bindings": [{ "name": "SUPERVISOR", "class_name": "Supervisor" }] },
        "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Supervisor"] }],
        "worker_loaders": [{ "binding": "LOADER" }]
    }));
    let project = folder.load().unwrap();
    assert_eq!(project.warnings, Vec::<String>::new());
    assert_eq!(project.root, folder.real());
    let [worker] = project.workers.as_slice() else {
        panic!("one worker")
    };
    assert_eq!(
        (worker.name.as_str(), worker.main.as_str()),
        ("w", "index.js")
    );
    assert_eq!(
        worker.compatibility,
        Compatibility {
            date: "2026-04-01".into(),
            flags: vec![]
        }
    );
    assert_eq!(
        worker.modules,
        [ModuleSource {
            name: "index.js".into(),
            kind: ModuleKind::EsModule,
            path: folder.real().join("index.js"),
            bytes: b"export default {}".to_vec()
        }]
    );
    assert_eq!(
        worker.classes,
        [DurableClass {
            class_name: "Supervisor".into(),
            unique_key: "w-Supervisor".into()
        }]
    );
    assert_eq!(
        worker.worker_loaders,
        [LoaderBinding {
            binding: "LOADER".into(),
            id: None
        }]
    );
    assert!(!worker.single_file);
}

#[test]
fn toml_projects_load_too() {
    let toml = "name = \"w\"\nmain = \"index.js\"\ncompatibility_date = \"2026-04-01\"\n\
        [vars]\nA = \"a\"\n[[durable_objects.bindings]]\nname = \"O\"\nclass_name = \"Obj\"\n";
    let project = Folder::new(&[MAIN, ("wrangler.toml", toml)])
        .load()
        .unwrap();
    assert_eq!(project.workers[0].object_bindings[0].class_name, "Obj");
    assert_eq!(project.workers[0].vars["A"], "a");
}

#[test]
fn a_config_is_found_by_its_own_path_too() {
    let folder = Folder::new(&[MAIN, ("other.jsonc", &config(json!({})))]);
    let project = load(&folder.path("other.jsonc"), &LoadOptions::default()).unwrap();
    assert_eq!(project.root, folder.real());
}

#[test]
fn a_single_file_needs_no_config() {
    let folder = Folder::new(&[
        ("my app.mjs", "import './lib/a.js'; export class Thing {}"),
        ("lib/a.js", ""),
        ("unrelated.js", ""),
    ]);
    let options = LoadOptions {
        env: None,
        vars: vec![("KEY".into(), "value".into())],
    };
    let project = load(&folder.path("my app.mjs"), &options).unwrap();
    let worker = &project.workers[0];
    assert_eq!(worker.name, "my-app");
    assert_eq!(names(worker), ["my app.mjs", "lib/a.js"]);
    assert_eq!(worker.compatibility.date, SUPPORTED_DATE);
    assert_eq!(worker.classes, [], "exports are known only at run time");
    assert_eq!(worker.worker_loaders[0].binding, "LOADER");
    assert_eq!(worker.vars["KEY"], "value");
    assert!(worker.single_file);
    assert_eq!(project.warnings, Vec::<String>::new());
}

#[test]
fn required_keys_and_their_texts() {
    for (config, error) in [
        (
            "{}",
            "~/wrangler.jsonc: name: missing; set it to the worker's name: letters, digits and dashes",
        ),
        (
            "{ \"name\": \"a b\" }",
            "~/wrangler.jsonc: name: \"a b\" is not a worker name: use up to 128 letters, digits and dashes",
        ),
        (
            "{ \"name\": \"../x\" }",
            "~/wrangler.jsonc: name: \"../x\" is not a worker name: use up to 128 letters, digits and dashes",
        ),
        (
            "{ \"name\": \"\" }",
            "~/wrangler.jsonc: name: must not be empty",
        ),
        (
            "{ \"name\": 1 }",
            "~/wrangler.jsonc: name: expected a string, found number",
        ),
        (
            "{ \"name\": \"w\" }",
            "~/wrangler.jsonc: main: missing; set it to the worker's .js file, for example \"main\": \"src/index.js\"",
        ),
        (
            "{ \"name\": \"w\", \"assets\": { \"directory\": \"public\" } }",
            "~/wrangler.jsonc: main: missing; facetd does not serve assets without a worker yet",
        ),
        (
            "{ \"name\": \"w\", \"main\": \"dist/x.js\" }",
            "~/wrangler.jsonc: main: the file \"dist/x.js\" does not exist. Correct the path, or build the worker first",
        ),
        (
            "{ \"name\": \"w\", \"main\": \"src/index.ts\" }",
            "~/wrangler.jsonc: main: \"src/index.ts\" is not JavaScript, and facetd does not compile it. Bundle it first, for example with \"npx wrangler deploy --dry-run --outdir dist\", then point \"main\" at the .js file in dist",
        ),
        (
            "{ \"name\": \"w\", \"main\": \"m.py\" }",
            "~/wrangler.jsonc: main: Python Workers are not supported.",
        ),
        (
            "{ \"name\": \"w\", \"main\": \"wrangler.jsonc\" }",
            "~/wrangler.jsonc: main: Main module must be an ES module: a .js or .mjs file",
        ),
    ] {
        assert_eq!(Folder::new(&[("wrangler.jsonc", config)]).error(), error);
    }
}

#[test]
fn error_variants_tell_the_kinds_apart() {
    assert!(matches!(
        Folder::new(&[]).load(),
        Err(ConfigError::NotFound { .. })
    ));
    assert!(matches!(
        Folder::new(&[("wrangler.json", "{")]).load(),
        Err(ConfigError::Syntax { .. })
    ));
    assert!(matches!(
        Folder::new(&[("wrangler.json", "{}")]).load(),
        Err(ConfigError::Invalid { .. })
    ));
    let missing_main = Folder::new(&[("wrangler.json", &config(json!({})))]);
    assert!(matches!(
        missing_main.load(),
        Err(ConfigError::NotFound { .. })
    ));
}

#[test]
fn compatibility_faults_have_the_texts_of_workerd() {
    for (more, text) in [
        (
            json!({ "compatibility_date": "banana" }),
            "Invalid compatibility date: banana",
        ),
        (
            json!({ "compatibility_date": "2030-01-01" }),
            "This Worker requires compatibility date \"2030-01-01\", but the newest date supported by this server binary is \"2026-11-24\".",
        ),
        (
            json!({ "compatibility_flags": ["nope_flag"] }),
            "No such compatibility flag: nope_flag",
        ),
        (
            json!({ "compatibility_flags": ["rpc", "no_rpc"] }),
            "Compatibility flags are mutually contradictory: rpc vs no_rpc",
        ),
    ] {
        assert_eq!(project(more).error(), format!("~/wrangler.jsonc: {text}"));
    }
    assert!(
        worker(json!({ "compatibility_flags": ["experimental"] }))
            .compatibility
            .enable("experimental")
    );
}

#[test]
fn a_missing_date_warns_and_means_the_newest() {
    let project = Folder::new(&[
        MAIN,
        (
            "wrangler.jsonc",
            "{ \"name\": \"w\", \"main\": \"index.js\" }",
        ),
    ])
    .load()
    .unwrap();
    assert_eq!(project.workers[0].compatibility.date, SUPPORTED_DATE);
    assert_eq!(
        project.warnings,
        [
            "no \"compatibility_date\" in wrangler.jsonc: using 2026-11-24. Set it, or an update of facetd may change behaviour"
        ]
    );
}

#[test]
fn wrong_types_name_the_key_path() {
    for (more, error) in [
        (
            json!({ "durable_objects": { "bindings": [{ "name": "A", "class_name": 7 }] } }),
            "durable_objects.bindings[0].class_name: expected a string, found number",
        ),
        (
            json!({ "durable_objects": { "bindings": [{ "name": "A" }] } }),
            "durable_objects.bindings[0].class_name: missing; this entry needs it",
        ),
        (
            json!({ "durable_objects": { "bindings": [{ "name": "A", "class_name": "../x" }] } }),
            "durable_objects.bindings[0].class_name: \"../x\" is not the name of a JavaScript class",
        ),
        (
            json!({ "vars": [] }),
            "vars: expected an object, found array",
        ),
        (
            json!({ "services": {} }),
            "services: expected an array, found object",
        ),
        (
            json!({ "services": [{ "binding": "A", "service": "w", "props": 1 }] }),
            "services[0].props: expected an object, found number",
        ),
        (
            json!({ "worker_loaders": [{}] }),
            "worker_loaders[0].binding: missing; this entry needs it",
        ),
        (
            json!({ "migrations": [{}] }),
            "migrations[0].tag: missing; this entry needs it",
        ),
        (
            json!({ "migrations": [{ "tag": "a" }, { "tag": "a" }] }),
            "migrations[1].tag: an earlier migration has this tag: every tag is applied once, so it must be unique",
        ),
        (
            json!({ "migrations": [{ "tag": "a", "renamed_classes": [{ "from": "A" }] }] }),
            "migrations[0].renamed_classes[0].to: missing; this entry needs it",
        ),
        (
            json!({ "limits": { "cpu_ms": "9" } }),
            "limits.cpu_ms: expected a number, found string",
        ),
        (
            json!({ "limits": { "cpu_ms": 0 } }),
            "limits.cpu_ms: expected a whole number greater than 0, found 0",
        ),
        (
            json!({ "facetd": { "mailbox": { "length": 0 } } }),
            "facetd.mailbox.length: expected a whole number greater than 0, found 0",
        ),
        (
            json!({ "facetd": { "instances": 0 } }),
            "facetd.instances: expected a whole number greater than 0, found 0",
        ),
        (
            json!({ "facetd": { "instances": 1000 } }),
            "facetd.instances: expected at most 256, found 1000",
        ),
        (
            json!({ "facetd": { "instances": "all" } }),
            "facetd.instances: expected a number or \"cores\", found string",
        ),
        (
            json!({ "facetd": { "durability": "maybe" } }),
            "facetd.durability: expected \"fsync\" or \"relaxed\", found \"maybe\"",
        ),
        (
            json!({ "facetd": { "confine": "yes" } }),
            "facetd.confine: expected true or false, found string",
        ),
        (
            json!({ "dev": { "port": 70000 } }),
            "dev.port: expected a port below 65536, found 70000",
        ),
        (
            json!({ "triggers": { "crons": "* * * * *" } }),
            "triggers.crons: expected an array, found string",
        ),
        (
            json!({ "triggers": { "crons": ["* * * * *", "0 25 * * *"] } }),
            "triggers.crons[1]: \"0 25 * * *\": hour: \"25\" is not a value: expected 0 to 23",
        ),
        (
            json!({ "env": { "a": 1 }, "facetd": [] }),
            "facetd: expected an object, found array",
        ),
    ] {
        assert_eq!(project(more).error(), format!("~/wrangler.jsonc: {error}"));
    }
}

#[test]
fn every_binding_is_read() {
    let worker = worker(json!({
        "vars": { "S": "s", "N": 1, "O": { "a": [null] }, "Z": null },
        "durable_objects": { "bindings": [{ "name": "D", "class_name": "C", "script_name": "w" }] },
        "services": [{ "binding": "SELF", "service": "w", "entrypoint": "E", "props": { "p": 1 } }],
        "worker_loaders": [{ "binding": "L", "id": "shared" }],
        "kv_namespaces": [{ "binding": "K1", "id": "x" }, { "binding": "K2" }],
        "tail_consumers": [{ "service": "w" }],
        "triggers": { "crons": ["0 * * * *"] },
        "assets": { "directory": "./public", "binding": "ASSETS", "run_worker_first": true },
        "limits": { "cpu_ms": 50, "subrequests": 5 },
        "dev": { "ip": "0.0.0.0", "port": 9000 },
        "facetd": {
            "durable_object_classes": [{ "binding": "F", "class_name": "Facet", "service": "w", "props": {} }],
            "limits": { "cpu_ms": 100, "memory_mb": 64, "wall_ms": 1000, "storage_mb": 10, "wait_until_ms": 5000 },
            "dynamic_limits": { "cpu_ms": 10 },
            "instances": 2, "evict_after_ms": 500, "mailbox": { "length": 10, "wait_ms": 20, "in_flight": 30 },
            "durability": "relaxed", "confine": false, "egress": { "allow": ["x"] }
        }
    }));
    assert_eq!(
        Value::Object(worker.vars),
        json!({ "S": "s", "N": 1, "O": { "a": [null] }, "Z": null })
    );
    assert_eq!(
        worker.object_bindings,
        [ObjectBinding {
            binding: "D".into(),
            class_name: "C".into(),
            script_name: Some("w".into())
        }]
    );
    assert_eq!(
        worker.classes[0].unique_key, "w-C",
        "a script_name that is this worker's own counts as its own"
    );
    assert_eq!(
        worker.services,
        [ServiceBinding {
            binding: "SELF".into(),
            service: "w".into(),
            entrypoint: Some("E".into()),
            props: Some(json!({ "p": 1 }))
        }]
    );
    assert_eq!(worker.worker_loaders[0].id.as_deref(), Some("shared"));
    let stores: Vec<&str> = worker
        .kv_namespaces
        .iter()
        .map(|kv| kv.id.as_str())
        .collect();
    assert_eq!(stores, ["x", "K2"]);
    assert_eq!(worker.tail_consumers, ["w"]);
    let crons: Vec<String> = worker.crons.iter().map(ToString::to_string).collect();
    assert_eq!(crons, ["0 * * * *"]);
    let assets = worker.assets.unwrap();
    assert_eq!(
        (assets.directory, assets.binding.as_deref()),
        (worker.root.join("public"), Some("ASSETS"))
    );
    assert_eq!(
        worker.limits,
        LimitsConfig {
            cpu_ms: Some(50),
            subrequests: Some(5),
            memory_mb: Some(64),
            wall_ms: Some(1000),
            storage_mb: Some(10),
            wait_until_ms: Some(5000)
        },
        "the lower of two limits wins"
    );
    assert_eq!(
        worker.dynamic_limits,
        LimitsConfig {
            cpu_ms: Some(10),
            ..LimitsConfig::default()
        }
    );
    assert_eq!(worker.class_bindings[0].service.as_deref(), Some("w"));
    assert_eq!(
        worker.dev,
        DevConfig {
            ip: Some("0.0.0.0".into()),
            port: Some(9000)
        }
    );
    assert_eq!(
        (worker.instances, worker.durability, worker.confine),
        (Some(2), Some(Durability::Relaxed), Some(false))
    );
    let mailbox = MailboxConfig {
        length: Some(10),
        wait_ms: Some(20),
        in_flight: Some(30),
    };
    assert_eq!(
        (worker.evict_after_ms, worker.mailbox),
        (Some(500), mailbox)
    );
    assert_eq!(worker.egress, Some(json!({ "allow": ["x"] })));
}

#[test]
fn instances_may_follow_the_machine() {
    let worker = worker(json!({ "facetd": { "instances": "cores" } }));
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    assert_eq!(worker.instances, Some(cores.min(256)));
}

#[test]
fn a_binding_name_is_given_once() {
    for (more, places) in [
        (
            json!({ "vars": { "A": 1 }, "worker_loaders": [{ "binding": "A" }] }),
            "vars.A and worker_loaders[0]",
        ),
        (
            json!({ "services": [{ "binding": "A", "service": "w" }, { "binding": "A", "service": "w" }] }),
            "services[0] and services[1]",
        ),
        (
            json!({ "kv_namespaces": [{ "binding": "A" }], "facetd": { "durable_object_classes": [{ "binding": "A", "class_name": "C" }] } }),
            "kv_namespaces[0] and facetd.durable_object_classes[0]",
        ),
        (
            json!({ "durable_objects": { "bindings": [{ "name": "A", "class_name": "C" }] }, "assets": { "directory": "p", "binding": "A" } }),
            "durable_objects.bindings[0] and assets",
        ),
    ] {
        let error = format!(
            "~/wrangler.jsonc: two bindings are called \"A\": {places}. Rename one of them"
        );
        assert_eq!(project(more).error(), error);
    }
}

#[test]
fn secrets_go_over_vars_and_the_command_line_over_both() {
    let folder = project(json!({ "vars": { "A": 1, "B": 2, "C": 3 } }));
    folder.write(".dev.vars", "A=secret\nB=secret\nNEW=secret");
    let options = LoadOptions {
        env: None,
        vars: vec![("B".into(), "given".into())],
    };
    let worker = load(folder.0.path(), &options).unwrap().workers.remove(0);
    assert_eq!(
        Value::Object(worker.vars),
        json!({ "A": "secret", "B": "given", "C": 3, "NEW": "secret" })
    );

    let folder = project(json!({ "worker_loaders": [{ "binding": "A" }] }));
    folder.write(".dev.vars", "A=secret");
    assert_eq!(
        folder.error(),
        "~/wrangler.jsonc: two bindings are called \"A\": a secret (.dev.vars, .env or --var) and worker_loaders[0]. Rename one of them"
    );
}

#[test]
fn environments_inherit_settings_but_not_bindings() {
    let folder = project(json!({
        "vars": { "A": "top" },
        "limits": { "cpu_ms": 5 },
        "env": {
            "staging": { "vars": { "A": "staging" }, "compatibility_date": "2026-05-01" },
            "named": { "name": "other", "vars": {}, "limits": {} },
            "broken": { "vars": {}, "services": [{ "binding": 1 }] }
        }
    }));
    folder.write(".dev.vars.staging", "S=s");
    let top = folder.load().unwrap().workers.remove(0);
    assert_eq!((top.name.as_str(), &top.vars["A"]), ("w", &json!("top")));
    let staging = folder.load_env("staging").unwrap();
    assert_eq!(staging.warnings, Vec::<String>::new());
    let worker = &staging.workers[0];
    assert_eq!(worker.name, "w-staging");
    assert_eq!(
        Value::Object(worker.vars.clone()),
        json!({ "A": "staging", "S": "s" })
    );
    assert_eq!(
        (worker.limits.cpu_ms, worker.compatibility.date.as_str()),
        (Some(5), "2026-05-01")
    );
    let named = folder.load_env("named").unwrap().workers.remove(0);
    assert_eq!((named.name.as_str(), named.limits.cpu_ms), ("other", None));
    assert!(
        folder
            .load_env("broken")
            .unwrap_err()
            .to_string()
            .ends_with("env.broken.services[0].binding: expected a string, found number")
    );
    assert!(
        folder
            .load_env("none")
            .unwrap_err()
            .to_string()
            .ends_with("env: no environment \"none\"; there are: staging, named, broken")
    );
}

#[test]
fn services_must_exist() {
    assert_eq!(
        project(json!({ "services": [{ "binding": "B", "service": "other" }] })).error(),
        "~/wrangler.jsonc: services[0].service: binding \"B\" refers to worker \"other\", which is not loaded (loaded: w). Correct the name, or give that worker's project on the command line too"
    );
    for (more, key) in [
        (
            json!({ "tail_consumers": [{ "service": "x" }] }),
            "tail_consumers[0].service: ",
        ),
        (
            json!({ "durable_objects": { "bindings": [{ "name": "A", "class_name": "C", "script_name": "x" }] } }),
            "durable_objects.bindings[0].script_name: ",
        ),
        (
            json!({ "facetd": { "durable_object_classes": [{ "binding": "A", "class_name": "C", "service": "x" }] } }),
            "facetd.durable_object_classes[0].service: ",
        ),
    ] {
        assert!(project(more).error().contains(key));
    }
}

#[test]
fn projects_loaded_together_find_each_other() {
    let a = project(json!({
        "name": "a",
        "services": [{ "binding": "B", "service": "b" }],
        "durable_objects": { "bindings": [{ "name": "O", "class_name": "Obj", "script_name": "b" }] }
    }));
    let b = project(
        json!({ "name": "b", "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Obj"] }] }),
    );
    let options = LoadOptions {
        env: None,
        vars: vec![("V".into(), "v".into())],
    };
    let project_ab = load_all(&[a.0.path(), b.0.path()], &options).unwrap();
    assert_eq!(project_ab.root, a.real());
    assert_eq!(project_ab.workers[0].classes, [], "the class belongs to b");
    assert_eq!(project_ab.workers[0].vars.get("V"), Some(&json!("v")));
    assert_eq!(
        project_ab.workers[1].vars.get("V"),
        None,
        "--var is for the primary"
    );

    let without = project(json!({ "name": "b" }));
    let error = load_all(&[a.0.path(), without.0.path()], &LoadOptions::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("worker \"b\" declares no Durable Object class \"Obj\": add it to \"new_sqlite_classes\" of a migration there"),
        "{error}"
    );
    let error = load_all(&[b.0.path(), b.0.path()], &LoadOptions::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("name: two workers are called \"b\": services could not tell them apart"),
        "{error}"
    );
}

#[test]
fn faults_of_migrations_reach_the_user() {
    let folder = project(json!({
        "migrations": [{ "tag": "v1", "new_sqlite_classes": ["A"] }, { "tag": "v2", "new_classes": ["A"] }]
    }));
    assert_eq!(
        folder.error(),
        "~/wrangler.jsonc: migrations[1]: \"v2\" creates a class \"A\", which exists already"
    );
    let project = project(json!({ "migrations": [{ "tag": "v1", "deleted_classes": ["A"] }] }))
        .load()
        .unwrap();
    assert_eq!(
        project.warnings,
        [
            "migrations[0].deleted_classes[0] in wrangler.jsonc: no earlier migration creates a class \"A\""
        ]
    );
}

#[test]
fn imports_are_followed_and_nothing_else_is_read() {
    let folder = Folder::new(&[
        ("wrangler.jsonc", &config(json!({ "main": "src/index.js" }))),
        (
            "src/index.js",
            "import './lib/a.js'; import t from './page.html'; import w from './m.wasm?module'; const l = () => import('./lazy.mjs'); import 'cloudflare:workers'; import './gone.js';",
        ),
        (
            "src/lib/a.js",
            "export * from '../b.js'; import c from './c.cjs'; import './a.js'; import 'data.json';",
        ),
        ("src/lib/c.cjs", "require('./d.cjs')"),
        ("src/lib/d.cjs", ""),
        ("src/b.js", "import '/page.html'"),
        ("src/lazy.mjs", ""),
        ("src/page.html", "<p>"),
        ("src/m.wasm", "wasm"),
        ("src/data.json", "{}"),
        ("src/unused.js", ""),
    ]);
    let project = folder.load().unwrap();
    let found: Vec<(&str, ModuleKind)> = project.workers[0]
        .modules
        .iter()
        .map(|module| (module.name.as_str(), module.kind))
        .collect();
    assert_eq!(
        found,
        [
            ("index.js", ModuleKind::EsModule),
            ("lib/a.js", ModuleKind::EsModule),
            ("page.html", ModuleKind::Text),
            ("m.wasm?module", ModuleKind::Wasm),
            ("lazy.mjs", ModuleKind::EsModule),
            ("b.js", ModuleKind::EsModule),
            ("lib/c.cjs", ModuleKind::CommonJs),
            ("data.json", ModuleKind::Json),
            ("lib/d.cjs", ModuleKind::CommonJs),
        ]
    );
    assert_eq!(project.workers[0].modules[3].bytes, b"wasm");
    assert_eq!(project.warnings, Vec::<String>::new());
}

#[test]
fn what_a_bundler_would_have_done_is_explained() {
    let folder = project(json!({}));
    folder.write(
        "index.js",
        "import './util'; import 'hono/cors'; import '@x/y'; import './notes.md'; import './gone';",
    );
    folder.write("util.ts", "");
    folder.write("notes.md", "");
    folder.write("node_modules/hono/package.json", "{}");
    folder.write("node_modules/@x/y/package.json", "{}");
    let bundle = "facetd does not look into node_modules. Bundle the worker first, for example with \"npx wrangler deploy --dry-run --outdir dist\"";
    assert_eq!(
        folder.load().unwrap().warnings,
        [
            "\"index.js\" imports \"./util\", which does not exist, but \"./util.ts\" does: facetd does not guess extensions, so write them out or bundle the worker".to_owned(),
            format!("\"index.js\" imports the package \"hono/cors\": {bundle}"),
            format!("\"index.js\" imports the package \"@x/y\": {bundle}"),
            "\"index.js\" imports \"./notes.md\", but no rule says what type it is: add one to \"rules\"".to_owned(),
        ]
    );
}

#[test]
fn no_module_comes_from_outside_the_base_directory() {
    let folder = Folder::new(&[
        ("wrangler.jsonc", &config(json!({ "main": "src/index.js" }))),
        ("src/index.js", "import '../shared.js'"),
        ("shared.js", ""),
    ]);
    assert_eq!(
        folder.error(),
        "~/wrangler.jsonc: \"index.js\" imports \"../shared.js\", which is outside the base directory ~/src: set \"base_dir\" to a folder that holds both"
    );
    folder.write(
        "wrangler.jsonc",
        &config(json!({ "main": "src/index.js", "base_dir": "." })),
    );
    let worker = folder.load().unwrap().workers.remove(0);
    assert_eq!(
        (worker.main.as_str(), names(&worker)),
        ("src/index.js", vec!["src/index.js", "shared.js"])
    );

    folder.write(
        "wrangler.jsonc",
        &config(json!({ "main": "src/index.js", "base_dir": "other" })),
    );
    assert_eq!(
        folder.error(),
        "~/wrangler.jsonc: base_dir: no such folder: ~/other"
    );
    std::fs::create_dir(folder.path("other")).unwrap();
    assert_eq!(
        folder.error(),
        "~/wrangler.jsonc: main: outside the base directory ~/other"
    );
}

#[cfg(unix)]
#[test]
fn a_link_does_not_lead_out_either() {
    let outside = Folder::new(&[("secret.json", "{}")]);
    let folder = project(json!({}));
    std::os::unix::fs::symlink(outside.path("secret.json"), folder.path("a.json")).unwrap();
    folder.write("index.js", "import './a.json'");
    assert!(
        folder
            .error()
            .contains("module \"a.json\" is a link that leads outside the base directory")
    );
    folder.write(
        "wrangler.jsonc",
        &config(json!({ "find_additional_modules": true })),
    );
    assert!(
        folder
            .error()
            .contains("module \"a.json\" is a link that leads outside the base directory")
    );
}

#[test]
fn find_additional_modules_takes_what_the_rules_match() {
    let folder = Folder::new(&[
        MAIN,
        (
            "wrangler.json",
            &config(
                json!({ "find_additional_modules": true, "rules": [{ "type": "Text", "globs": ["**/*.md"] }] }),
            ),
        ),
        ("b.js", ""),
        ("lib/a.js", ""),
        ("lib/notes.md", ""),
        (
            "page.html",
            "no longer text: the user's rule replaces the default",
        ),
        ("util.ts", ""),
        ("node_modules/x/index.js", ""),
        ("lib/node_modules/x/index.js", ""),
        (".facetd/do/x.js", ""),
        (".wrangler/state/v3/a.json", ""),
    ]);
    let expected = ["index.js", "b.js", "lib/a.js", "lib/notes.md"];
    assert_eq!(
        names(&folder.load().unwrap().workers[0]),
        expected,
        "and neither the config nor dot folders"
    );
    let no_bundle = project(json!({ "no_bundle": true }));
    no_bundle.write("b.js", "");
    assert_eq!(
        names(&no_bundle.load().unwrap().workers[0]),
        ["index.js", "b.js"]
    );
}

#[test]
fn listed_modules_replace_discovery() {
    let list = json!([
        { "name": "util", "type": "CommonJS", "path": "build/util.out" },
        { "name": "./main", "type": "ESModule", "path": "build/main.out" },
        { "name": "data.json", "path": "build/data.json" }
    ]);
    let folder = project(json!({ "main": "main", "facetd": { "modules": list } }));
    folder.write("build/main.out", "import 'util'; import './not-listed.js'");
    folder.write("build/util.out", "");
    folder.write("build/data.json", "{}");
    let worker = folder.load().unwrap().workers.remove(0);
    assert_eq!(
        (worker.main.as_str(), names(&worker)),
        ("main", vec!["main", "util", "data.json"])
    );
    assert_eq!(worker.modules[1].kind, ModuleKind::CommonJs);

    for (main, list, error) in [
        (
            "x",
            json!([]),
            "main: \"x\" is not among the modules of \"facetd.modules\"",
        ),
        (
            "x",
            json!([{ "name": "x", "path": "index.js" }]),
            "facetd.modules[0]: no rule gives \"x\" a type: add \"type\", for example \"ESModule\"",
        ),
        (
            "x",
            json!([{ "name": "x", "type": "Text", "path": "index.js" }]),
            "main: Main module must be an ES module: give it the type \"ESModule\"",
        ),
        (
            "x",
            json!([{ "name": "../x", "path": "index.js" }]),
            "facetd.modules[0].name: a module name is a path without \"..\", such as \"lib/util.js\"",
        ),
        (
            "x",
            json!([{ "name": "x.js", "path": "../index.js" }]),
            "facetd.modules[0].path: outside the project folder ~",
        ),
        (
            "x",
            json!([{ "name": "x.js", "path": "gone.js" }]),
            "facetd.modules[0].path: the file \"gone.js\" does not exist",
        ),
        (
            "x",
            json!([{ "name": "x.js", "path": "index.js" }, { "name": "./x.js", "path": "index.js" }]),
            "facetd.modules[1].name: \"x.js\" is listed twice",
        ),
    ] {
        let folder = project(json!({ "main": main, "facetd": { "modules": list } }));
        assert_eq!(folder.error(), format!("~/wrangler.jsonc: {error}"));
    }
}

#[test]
fn too_much_code_is_an_error_and_not_an_allocation() {
    let folder = project(json!({}));
    folder.write("index.js", "import './big.bin'");
    std::fs::File::create(folder.path("big.bin"))
        .unwrap()
        .set_len(65 << 20)
        .unwrap();
    assert_eq!(
        folder.error(),
        "~/wrangler.jsonc: the modules are larger than 67108864 bytes together (reached at \"big.bin\"): set \"base_dir\" to a smaller folder, or list the modules in \"facetd.modules\""
    );
}

#[test]
fn facetd_jsonc_is_the_last_choice() {
    let folder = Folder::new(&[MAIN, ("facetd.jsonc", &config(json!({ "name": "mine" })))]);
    assert_eq!(folder.load().unwrap().workers[0].name, "mine");
    folder.write("wrangler.toml", "name = \"theirs\"\nmain = \"index.js\"");
    assert_eq!(folder.load().unwrap().workers[0].name, "theirs");
}

#[test]
fn the_current_folder_is_a_project_like_any_other() {
    // `parent()` of "wrangler.jsonc" is "": loading by a bare file name must not read from "/".
    let error = load(Path::new("no-such-config.jsonc"), &LoadOptions::default()).unwrap_err();
    assert!(matches!(error, ConfigError::NotFound { .. }));
}
