//! The modules of user code: a virtual file tree of names, resolved and linked by V8 alone.
//!
//! deno_core's own module map serves only our extensions; user code gets names like `main.js` in its
//! stack traces, the platform's resolution rules and its error texts.

use deno_core::v8;
use facetd_core::{Module, ModuleSource};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Kept in a slot of the isolate, where V8's callbacks find it.
pub(crate) struct ModuleMap {
    sources: HashMap<String, ModuleSource>,
    /// Built-in modules: name to a function that gives `[default, named]`.
    builtins: v8::Global<v8::Object>,
    loaded: RefCell<HashMap<String, v8::Global<v8::Module>>>,
    /// Names by identity hash, which V8 may give to more than one module.
    names: RefCell<HashMap<i32, Vec<Named>>>,
    /// `module.exports` of CommonJS modules that have started to run.
    commonjs: RefCell<HashMap<String, v8::Global<v8::Object>>>,
}

type Named = (v8::Global<v8::Module>, String);

type Scope<'a, 's, 'i> = &'a mut v8::PinScope<'s, 'i>;

impl ModuleMap {
    pub fn new(modules: Vec<Module>, builtins: v8::Global<v8::Object>) -> Rc<Self> {
        Rc::new(Self {
            sources: modules.into_iter().map(|m| (m.name, m.source)).collect(),
            builtins,
            loaded: RefCell::default(),
            names: RefCell::default(),
            commonjs: RefCell::default(),
        })
    }

    fn of(isolate: &v8::Isolate) -> Rc<Self> {
        isolate
            .get_slot::<Rc<Self>>()
            .expect("set before user code is compiled")
            .clone()
    }

    fn name_of(&self, scope: Scope<'_, '_, '_>, module: v8::Local<v8::Module>) -> String {
        let hash = module.get_identity_hash().get();
        let names = self.names.borrow();
        let same = names.get(&hash).into_iter().flatten();
        let module = v8::Global::new(scope, module);
        same.filter(|(known, _)| *known == module)
            .map(|(_, name)| name.clone())
            .next()
            .unwrap_or_default()
    }

    /// The name `specifier` means in the module `referrer`. Err: what to throw.
    fn resolve(
        &self,
        scope: Scope<'_, '_, '_>,
        specifier: &str,
        referrer: &str,
    ) -> Result<String, Missing> {
        if let Some(name) = self.builtin_name(scope, specifier) {
            return Ok(name);
        }
        let from = format!("\n  imported from \"{referrer}\"");
        if specifier.contains(':') {
            return Err(Missing {
                text: format!("No such module \"{specifier}\".{from}"),
                invalid: false,
            });
        }
        let Some(name) = resolve_name(specifier, referrer) else {
            return Err(Missing {
                text: format!("Invalid module specifier \"{specifier}\".{from}."),
                invalid: true,
            });
        };
        if self.sources.contains_key(&name) {
            return Ok(name);
        }
        // `./x.wasm?module` is `./x.wasm`: bundlers ask for a compiled module that way.
        let bare = name.split('?').next().unwrap_or_default();
        if self.sources.contains_key(bare) {
            return Ok(bare.to_owned());
        }
        Err(Missing {
            text: format!("No such module \"{name}\".{from}"),
            invalid: false,
        })
    }

    fn builtin_name(&self, scope: Scope<'_, '_, '_>, specifier: &str) -> Option<String> {
        let builtins = v8::Local::new(scope, &self.builtins);
        // A module of the user's own comes before a bare Node name.
        let candidates = if specifier.contains(':') {
            vec![specifier.to_owned()]
        } else if self.sources.contains_key(specifier) || specifier.starts_with(['.', '/']) {
            vec![]
        } else {
            vec![format!("node:{specifier}")]
        };
        candidates.into_iter().find(|name| {
            let key = v8::String::new(scope, name);
            key.is_some_and(|key| {
                builtins
                    .get(scope, key.into())
                    .is_some_and(|f| f.is_function())
            })
        })
    }

    /// The module called `name`, compiled but not linked. `None`: an exception is pending.
    fn load<'s>(&self, scope: Scope<'_, 's, '_>, name: &str) -> Option<v8::Local<'s, v8::Module>> {
        if let Some(module) = self.loaded.borrow().get(name) {
            return Some(v8::Local::new(scope, module));
        }
        let module = match self.sources.get(name) {
            None => self.make_builtin(scope, name)?,
            Some(ModuleSource::EsModule(text)) => compile(scope, name, text)?,
            Some(_) => {
                let key = v8::String::new(scope, "default")?;
                let specifier = v8::String::new(scope, name)?;
                v8::Module::create_synthetic_module(scope, specifier, &[key], evaluate_synthetic)
            }
        };
        self.note(scope, name, module);
        Some(module)
    }

    fn note(&self, scope: Scope<'_, '_, '_>, name: &str, module: v8::Local<v8::Module>) {
        let hash = module.get_identity_hash().get();
        let module = v8::Global::new(scope, module);
        self.loaded
            .borrow_mut()
            .insert(name.to_owned(), module.clone());
        self.names
            .borrow_mut()
            .entry(hash)
            .or_default()
            .push((module, name.to_owned()));
    }

    fn builtin_value<'s>(
        &self,
        scope: Scope<'_, 's, '_>,
        name: &str,
    ) -> Option<v8::Local<'s, v8::Array>> {
        let builtins = v8::Local::new(scope, &self.builtins);
        let key = v8::String::new(scope, name)?;
        let make: v8::Local<v8::Function> = builtins.get(scope, key.into())?.try_into().ok()?;
        make.call(scope, builtins.into(), &[])?.try_into().ok()
    }

    fn make_builtin<'s>(
        &self,
        scope: Scope<'_, 's, '_>,
        name: &str,
    ) -> Option<v8::Local<'s, v8::Module>> {
        let value = self.builtin_value(scope, name)?;
        let mut keys = Vec::new();
        if !value.get_index(scope, 0)?.is_undefined() {
            keys.push(v8::String::new(scope, "default")?);
        }
        let named = value.get_index(scope, 1)?.to_object(scope)?;
        let own = named.get_own_property_names(scope, v8::GetPropertyNamesArgs::default())?;
        for at in 0..own.length() {
            let key = own.get_index(scope, at)?.to_string(scope)?;
            if key.to_rust_string_lossy(scope) != "default" {
                keys.push(key);
            }
        }
        let specifier = v8::String::new(scope, name)?;
        Some(v8::Module::create_synthetic_module(
            scope,
            specifier,
            &keys,
            evaluate_synthetic,
        ))
    }

    /// What a module that is not JavaScript exports as `default`.
    fn default_of<'s>(
        &self,
        scope: Scope<'_, 's, '_>,
        name: &str,
    ) -> Option<v8::Local<'s, v8::Value>> {
        match self.sources.get(name)? {
            ModuleSource::Text(text) => Some(v8::String::new(scope, text)?.into()),
            ModuleSource::Json(text) => {
                let text = v8::String::new(scope, text)?;
                v8::json::parse(scope, text)
            }
            ModuleSource::Data(bytes) => {
                let store =
                    v8::ArrayBuffer::new_backing_store_from_vec(bytes.to_vec()).make_shared();
                Some(v8::ArrayBuffer::with_backing_store(scope, &store).into())
            }
            ModuleSource::Wasm(bytes) => Some(v8::WasmModuleObject::compile(scope, bytes)?.into()),
            ModuleSource::CommonJs(_) => {
                let module = self.require_commonjs(scope, name)?;
                let key = v8::String::new(scope, "exports")?;
                module.get(scope, key.into())
            }
            ModuleSource::EsModule(_) => None,
        }
    }

    /// The `module` object of a CommonJS module, which runs on first use.
    fn require_commonjs<'s>(
        &self,
        scope: Scope<'_, 's, '_>,
        name: &str,
    ) -> Option<v8::Local<'s, v8::Object>> {
        if let Some(module) = self.commonjs.borrow().get(name) {
            return Some(v8::Local::new(scope, module));
        }
        let Some(ModuleSource::CommonJs(text)) = self.sources.get(name) else {
            return None;
        };
        let module = v8::Object::new(scope);
        let exports = v8::Object::new(scope);
        let exports_key = v8::String::new(scope, "exports")?;
        module.set(scope, exports_key.into(), exports.into());
        // Known before it runs: a cycle of requires sees what has been exported so far.
        let kept = v8::Global::new(scope, module);
        self.commonjs.borrow_mut().insert(name.to_owned(), kept);
        let file = v8::String::new(scope, name)?;
        let path = v8::String::new(scope, &format!("/{name}"))?;
        let require = v8::Function::builder(require)
            .data(file.into())
            .build(scope)?;
        let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
        let directory = v8::String::new(scope, &format!("/{directory}"))?;
        let parameters = ["exports", "require", "module", "__filename", "__dirname"];
        let parameters = parameters.map(|p| v8::String::new(scope, p).expect("a short string"));
        let code = v8::String::new(scope, text)?;
        let origin = origin(scope, file, false);
        let mut source = v8::script_compiler::Source::new(code, Some(&origin));
        let function = v8::script_compiler::compile_function(
            scope,
            &mut source,
            &parameters,
            &[],
            v8::script_compiler::CompileOptions::NoCompileOptions,
            v8::script_compiler::NoCacheReason::NoReason,
        )?;
        let arguments = [
            exports.into(),
            require.into(),
            module.into(),
            path.into(),
            directory.into(),
        ];
        let this = exports.into();
        if function.call(scope, this, &arguments).is_none() {
            self.commonjs.borrow_mut().remove(name);
            return None;
        }
        Some(module)
    }

    /// Loads, links and runs the main module. The promise settles when its top level has run.
    /// `None`: an exception is pending.
    pub fn start<'s>(
        self: &Rc<Self>,
        scope: Scope<'_, 's, '_>,
        main: &str,
    ) -> Option<(v8::Local<'s, v8::Module>, v8::Local<'s, v8::Promise>)> {
        scope.set_slot(self.clone());
        match self.sources.get(main) {
            None => {
                throw(scope, &format!("No such module: {main}"));
                return None;
            }
            Some(ModuleSource::EsModule(_)) => {}
            Some(_) => {
                let text = v8::String::new(scope, "Main module must be an ES module.")?;
                let error = v8::Exception::type_error(scope, text);
                scope.throw_exception(error);
                return None;
            }
        }
        let module = self.load(scope, main)?;
        module.instantiate_module2(scope, resolve_static, resolve_source)?;
        let promise = module.evaluate(scope)?;
        Some((module, promise.try_into().ok()?))
    }
}

/// A module that is not there.
struct Missing {
    text: String,
    /// The specifier itself is wrong: a TypeError.
    invalid: bool,
}

impl Missing {
    fn throw(&self, scope: Scope<'_, '_, '_>) {
        let Some(text) = v8::String::new(scope, &self.text) else {
            return;
        };
        let error = if self.invalid {
            v8::Exception::type_error(scope, text)
        } else {
            v8::Exception::error(scope, text)
        };
        scope.throw_exception(error);
    }
}

/// Where `specifier` points when it stands in the module `referrer`. `None`: outside the tree.
fn resolve_name(specifier: &str, referrer: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    // Bare names too are relative to the importer: the tree has no packages.
    if !specifier.starts_with('/') {
        parts = referrer.split('/').collect();
        parts.pop();
    }
    for part in specifier.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn throw(scope: Scope<'_, '_, '_>, message: &str) {
    if let Some(text) = v8::String::new(scope, message) {
        let error = v8::Exception::error(scope, text);
        scope.throw_exception(error);
    }
}

fn origin<'s>(
    scope: Scope<'_, 's, '_>,
    name: v8::Local<'s, v8::String>,
    is_module: bool,
) -> v8::ScriptOrigin<'s> {
    v8::ScriptOrigin::new(
        scope,
        name.into(),
        0,
        0,
        false,
        -1,
        None,
        false,
        false,
        is_module,
        None,
    )
}

fn compile<'s>(
    scope: Scope<'_, 's, '_>,
    name: &str,
    text: &str,
) -> Option<v8::Local<'s, v8::Module>> {
    let file = v8::String::new(scope, name)?;
    let code = v8::String::new(scope, text)?;
    let origin = origin(scope, file, true);
    let mut source = v8::script_compiler::Source::new(code, Some(&origin));
    v8::script_compiler::compile_module(scope, &mut source)
}

fn resolve_in<'s>(
    context: v8::Local<'s, v8::Context>,
    specifier: v8::Local<'s, v8::String>,
    referrer: v8::Local<'s, v8::Module>,
) -> Option<v8::Local<'s, v8::Module>> {
    // SAFETY: V8 calls this while it links, with the context that is current.
    v8::callback_scope!(unsafe scope, context);
    let map = ModuleMap::of(scope);
    let specifier = specifier.to_rust_string_lossy(scope);
    let referrer = map.name_of(scope, referrer);
    match map.resolve(scope, &specifier, &referrer) {
        Ok(name) => map.load(scope, &name),
        Err(missing) => {
            missing.throw(scope);
            None
        }
    }
}

fn resolve_static<'s>(
    context: v8::Local<'s, v8::Context>,
    specifier: v8::Local<'s, v8::String>,
    _attributes: v8::Local<'s, v8::FixedArray>,
    referrer: v8::Local<'s, v8::Module>,
) -> Option<v8::Local<'s, v8::Module>> {
    resolve_in(context, specifier, referrer)
}

/// `import source m from "./x.wasm"`.
fn resolve_source<'s>(
    context: v8::Local<'s, v8::Context>,
    specifier: v8::Local<'s, v8::String>,
    _attributes: v8::Local<'s, v8::FixedArray>,
    referrer: v8::Local<'s, v8::Module>,
) -> Option<v8::Local<'s, v8::Object>> {
    // SAFETY: V8 calls this while it links, with the context that is current.
    v8::callback_scope!(unsafe scope, context);
    let map = ModuleMap::of(scope);
    let specifier = specifier.to_rust_string_lossy(scope);
    let referrer = map.name_of(scope, referrer);
    let name = match map.resolve(scope, &specifier, &referrer) {
        Ok(name) => name,
        Err(missing) => {
            missing.throw(scope);
            return None;
        }
    };
    match map.sources.get(&name) {
        Some(ModuleSource::Wasm(bytes)) => {
            Some(v8::WasmModuleObject::compile(scope, bytes)?.into())
        }
        _ => {
            throw(
                scope,
                &format!("Source phase import object is not defined for module \"{name}\"."),
            );
            None
        }
    }
}

/// Gives a synthetic module its exports when V8 evaluates it.
fn evaluate_synthetic<'s>(
    context: v8::Local<'s, v8::Context>,
    module: v8::Local<'s, v8::Module>,
) -> Option<v8::Local<'s, v8::Value>> {
    // SAFETY: V8 calls this while it evaluates, with the context that is current.
    v8::callback_scope!(unsafe scope, context);
    let map = ModuleMap::of(scope);
    let name = map.name_of(scope, module);
    let default = v8::String::new(scope, "default")?;
    if map.sources.contains_key(&name) {
        let value = map.default_of(scope, &name)?;
        module.set_synthetic_module_export(scope, default, value)?;
    } else {
        let value = map.builtin_value(scope, &name)?;
        let first = value.get_index(scope, 0)?;
        if !first.is_undefined() {
            module.set_synthetic_module_export(scope, default, first)?;
        }
        let named = value.get_index(scope, 1)?.to_object(scope)?;
        let own = named.get_own_property_names(scope, v8::GetPropertyNamesArgs::default())?;
        for at in 0..own.length() {
            let key = own.get_index(scope, at)?.to_string(scope)?;
            if key.to_rust_string_lossy(scope) != "default" {
                let value = named.get(scope, key.into())?;
                module.set_synthetic_module_export(scope, key, value)?;
            }
        }
    }
    let done = v8::PromiseResolver::new(scope)?;
    let undefined = v8::undefined(scope).into();
    done.resolve(scope, undefined)?;
    Some(done.get_promise(scope).into())
}

/// `require()` of a CommonJS module; its data is the name of that module.
fn require<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    arguments: v8::FunctionCallbackArguments<'s>,
    mut result: v8::ReturnValue<'s, v8::Value>,
) {
    let map = ModuleMap::of(scope);
    let referrer = arguments.data().to_rust_string_lossy(scope);
    let specifier = arguments.get(0).to_rust_string_lossy(scope);
    match map.resolve(scope, &specifier, &referrer) {
        Ok(name) => {
            if let Some(value) = required(scope, &map, &name) {
                result.set(value);
            }
        }
        // Here the stack says where, as for any error.
        Err(missing) => throw(scope, missing.text.split('\n').next().unwrap_or_default()),
    }
}

/// What `require(name)` gives. `None`: an exception is pending.
fn required<'s>(
    scope: Scope<'_, 's, '_>,
    map: &Rc<ModuleMap>,
    name: &str,
) -> Option<v8::Local<'s, v8::Value>> {
    match map.sources.get(name) {
        Some(ModuleSource::EsModule(_)) | None => {
            let module = map.load(scope, name)?;
            module.instantiate_module2(scope, resolve_static, resolve_source)?;
            module.evaluate(scope)?;
            if module.get_status() == v8::ModuleStatus::Errored {
                let error = module.get_exception();
                scope.throw_exception(error);
                return None;
            }
            let namespace = module.get_module_namespace();
            let object = namespace.to_object(scope)?;
            let key = v8::String::new(scope, "default")?;
            if object.has_own_property(scope, key.into())? {
                object.get(scope, key.into())
            } else {
                Some(namespace)
            }
        }
        Some(_) => map.default_of(scope, name),
    }
}

/// As [`import_dynamically`]; V8 asks here when it knows about import phases.
pub(crate) fn import_with_phase<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    host_defined_options: v8::Local<'s, v8::Data>,
    resource_name: v8::Local<'s, v8::Value>,
    specifier: v8::Local<'s, v8::String>,
    _phase: v8::ModuleImportPhase,
    attributes: v8::Local<'s, v8::FixedArray>,
) -> Option<v8::Local<'s, v8::Promise>> {
    import_dynamically(
        scope,
        host_defined_options,
        resource_name,
        specifier,
        attributes,
    )
}

/// `import(specifier)`: of known modules only.
pub(crate) fn import_dynamically<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    _host_defined_options: v8::Local<'s, v8::Data>,
    resource_name: v8::Local<'s, v8::Value>,
    specifier: v8::Local<'s, v8::String>,
    _attributes: v8::Local<'s, v8::FixedArray>,
) -> Option<v8::Local<'s, v8::Promise>> {
    let resolver = v8::PromiseResolver::new(scope)?;
    let promise = resolver.get_promise(scope);
    v8::tc_scope!(let scope, scope);
    let Some(map) = scope.get_slot::<Rc<ModuleMap>>().cloned() else {
        return Some(promise);
    };
    let referrer = resource_name.to_rust_string_lossy(scope);
    let specifier = specifier.to_rust_string_lossy(scope);
    let found = match map.resolve(scope, &specifier, &referrer) {
        Ok(name) => import(scope, &map, &name),
        Err(missing) => {
            // Told without the importer, as the platform does.
            throw(scope, missing.text.split('\n').next().unwrap_or_default());
            None
        }
    };
    match found {
        Some((namespace, evaluated)) => {
            // Resolves to the namespace when the module's top level has run.
            let give = v8::Function::builder(give_data)
                .data(namespace)
                .build(scope)?;
            let chained = evaluated.then(scope, give)?;
            resolver.resolve(scope, chained.into())?;
        }
        None => {
            let error = scope.exception()?;
            scope.reset();
            resolver.reject(scope, error)?;
        }
    }
    Some(promise)
}

fn import<'s>(
    scope: Scope<'_, 's, '_>,
    map: &Rc<ModuleMap>,
    name: &str,
) -> Option<(v8::Local<'s, v8::Value>, v8::Local<'s, v8::Promise>)> {
    let module = map.load(scope, name)?;
    module.instantiate_module2(scope, resolve_static, resolve_source)?;
    let evaluated = module.evaluate(scope)?;
    Some((module.get_module_namespace(), evaluated.try_into().ok()?))
}

fn give_data<'s>(
    _scope: &mut v8::PinScope<'s, '_>,
    arguments: v8::FunctionCallbackArguments<'s>,
    mut result: v8::ReturnValue<'s, v8::Value>,
) {
    result.set(arguments.data());
}

/// Workers see no `import.meta.url`: there is nothing it could be relative to.
pub(crate) extern "C" fn no_import_meta(
    _context: v8::Local<v8::Context>,
    _module: v8::Local<v8::Module>,
    _meta: v8::Local<v8::Object>,
) {
}

#[cfg(test)]
mod tests {
    use super::resolve_name;

    #[test]
    fn names_form_a_virtual_file_tree() {
        let from = |referrer, specifier| resolve_name(specifier, referrer);
        assert_eq!(from("main.js", "./a.js").as_deref(), Some("a.js"), "beside");
        assert_eq!(
            from("lib/x.js", "../a.js").as_deref(),
            Some("a.js"),
            "above"
        );
        assert_eq!(
            from("lib/x.js", "/b/c.js").as_deref(),
            Some("b/c.js"),
            "from the root"
        );
        assert_eq!(
            from("lib/x.js", "c.js").as_deref(),
            Some("lib/c.js"),
            "bare is relative too"
        );
        assert_eq!(from("main.js", "../../etc/passwd"), None, "never outside");
    }
}
