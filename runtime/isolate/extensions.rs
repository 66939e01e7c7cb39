// The extensions of every isolate, in load order. Included by the build script, which makes the
// start-up snapshot of them, and by the crate, which starts isolates from it: the two lists must be
// one, or the snapshot's op table does not match.

use deno_core::Extension;
use std::sync::Arc;

deno_core::extension!(
    facetd_js,
    deps = [facetd_web, facetd_websocket, facetd_loader],
    esm_entry_point = "ext:facetd_js/bootstrap.js",
    esm = [dir "../../js", "workers.js", "bootstrap.js"],
    lazy_loaded_js = [
        dir "../../js",
        "node/inspect.js",
        "node/deep_equal.js",
        "node/assert.js",
        "node/async_hooks.js",
    ],
);

// `deno_fetch` asks this extension for one function, used only by its own HTTP client, which
// workers cannot reach.
deno_core::extension!(deno_net, lazy_loaded_js = [dir "../../js/lib", "02_tls.js"]);

pub fn extensions() -> Vec<Extension> {
    vec![
        deno_webidl::deno_webidl::init(),
        deno_web::deno_web::init(
            Arc::new(deno_web::BlobStore::default()),
            None,
            false,
            deno_web::InMemoryBroadcastChannel::default(),
        ),
        deno_net::init(),
        deno_fetch::deno_fetch::init(deno_fetch::Options::default()),
        deno_crypto::deno_crypto::init(None),
        facetd_rpc::facetd_rpc::init(),
        facetd_storage::facetd_storage::init(),
        facetd_facets::facetd_facets::init(),
        facetd_durable_object::facetd_durable_object::init(),
        facetd_loader::facetd_loader::init(),
        facetd_websocket::facetd_websocket::init(),
        facetd_web::facetd_web::init(),
        facetd_js::init(),
    ]
}
