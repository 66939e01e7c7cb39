//! Makes the start-up snapshot: every extension's JS, already run, as one blob in the binary.

#[path = "extensions.rs"]
mod extensions;

use deno_core::snapshot::{CreateSnapshotOptions, create_snapshot};
use std::path::Path;

fn main() {
    let out = std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    let snapshot = create_snapshot(
        CreateSnapshotOptions {
            cargo_manifest_dir: env!("CARGO_MANIFEST_DIR"),
            startup_snapshot: None,
            skip_op_registration: false,
            extensions: extensions::extensions(),
            extension_transpiler: None,
            with_runtime_cb: None,
        },
        None,
    )
    .expect("the extensions' own JS runs");
    std::fs::write(Path::new(&out).join("isolate.snapshot"), &snapshot.output)
        .expect("OUT_DIR is writable");
    // Lazy scripts that did not run while the snapshot was made are not in it: the binary brings them.
    let mut scripts = std::collections::BTreeMap::new(); // deno_core searches the table: sorted
    for extension in extensions::extensions() {
        for file in extension.lazy_loaded_js_files.iter() {
            let consumed = &snapshot.consumed_lazy_specifiers;
            if !consumed.iter().any(|consumed| consumed == file.specifier) {
                let source = file.load().expect("our own scripts are readable");
                scripts.insert(file.specifier, source.as_str().to_owned());
            }
        }
    }
    let rows: String = scripts
        .iter()
        .map(|(name, source)| format!("({name:?}, {source:?}),\n"))
        .collect();
    let table = format!("static LAZY_SCRIPTS: &[(&str, &str)] = &[\n{rows}];\n");
    std::fs::write(Path::new(&out).join("lazy_scripts.rs"), table).expect("OUT_DIR is writable");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=extensions.rs");
    for dir in ["../../js", "../../ext"] {
        println!("cargo:rerun-if-changed={dir}");
    }
    for file in snapshot.files_loaded_during_snapshot {
        println!("cargo:rerun-if-changed={}", file.display());
    }
}
