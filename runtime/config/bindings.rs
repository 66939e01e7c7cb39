//! Reads the names a worker finds in `env`, and sees to it that each is given once.
//!
//! Owns: the shape of each kind of binding. Whether a binding's target exists is for `lib` to say, once all
//! workers are known.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::error::ConfigError;
use crate::migrations::class_name;
use crate::project::{
    AssetsConfig, ClassBinding, KvBinding, LoaderBinding, ObjectBinding, ServiceBinding,
};
use crate::settings::Settings;
use crate::value::{Field, Object};

#[derive(Debug, Default)]
pub(crate) struct Bindings {
    pub vars: Map<String, Value>,
    pub objects: Vec<ObjectBinding>,
    pub classes: Vec<ClassBinding>,
    pub loaders: Vec<LoaderBinding>,
    pub services: Vec<ServiceBinding>,
    pub kv_namespaces: Vec<KvBinding>,
}

impl Bindings {
    /// `secrets` replace vars of the same name; a secret with the name of another binding is an error.
    pub fn parse(
        settings: &Settings,
        secrets: Vec<(String, String)>,
        assets: Option<&AssetsConfig>,
    ) -> Result<Self, ConfigError> {
        let mut names = Names {
            settings,
            taken: HashMap::new(),
        };
        let mut bindings = Self::default();

        if let Some(field) = settings.get("vars") {
            let object = field.object()?;
            for (name, value) in object.map {
                names.take(name, format!("{}.{name}", field.path))?;
                bindings.vars.insert(name.clone(), value.clone());
            }
        }
        for (name, value) in secrets {
            if bindings
                .vars
                .insert(name.clone(), Value::String(value))
                .is_none()
            {
                names.take(&name, "a secret (.dev.vars, .env or --var)".to_owned())?;
            }
        }
        if let Some(field) = settings.get("durable_objects") {
            for item in field
                .object()?
                .get("bindings")
                .map_or(Ok(Vec::new()), |field| field.items())?
            {
                let entry = item.object()?;
                bindings.objects.push(ObjectBinding {
                    binding: names.read(&item, &entry, "name")?,
                    class_name: class_name(&entry.required("class_name")?)?,
                    script_name: optional_name(&entry, "script_name")?,
                });
            }
        }
        for item in items(settings.get("worker_loaders"))? {
            let entry = item.object()?;
            let binding = names.read(&item, &entry, "binding")?;
            bindings.loaders.push(LoaderBinding {
                binding,
                id: optional_name(&entry, "id")?,
            });
        }
        for item in items(settings.get("services"))? {
            let entry = item.object()?;
            bindings.services.push(ServiceBinding {
                binding: names.read(&item, &entry, "binding")?,
                service: entry.required("service")?.name()?.to_owned(),
                entrypoint: optional_name(&entry, "entrypoint")?,
                props: props(&entry)?,
            });
        }
        for item in items(settings.get("kv_namespaces"))? {
            let entry = item.object()?;
            let binding = names.read(&item, &entry, "binding")?;
            let id = optional_name(&entry, "id")?.unwrap_or_else(|| binding.clone());
            bindings.kv_namespaces.push(KvBinding { binding, id });
        }
        for item in items(settings.facetd("durable_object_classes")?)? {
            let entry = item.object()?;
            bindings.classes.push(ClassBinding {
                binding: names.read(&item, &entry, "binding")?,
                class_name: class_name(&entry.required("class_name")?)?,
                service: optional_name(&entry, "service")?,
                props: props(&entry)?,
            });
        }
        if let Some(binding) = assets.and_then(|assets| assets.binding.as_ref()) {
            names.take(binding, "assets".to_owned())?;
        }
        Ok(bindings)
    }
}

/// The names given so far, and where.
struct Names<'a> {
    settings: &'a Settings<'a>,
    taken: HashMap<String, String>,
}

impl Names<'_> {
    fn read(&mut self, item: &Field, entry: &Object, key: &str) -> Result<String, ConfigError> {
        let name = entry.required(key)?.name()?.to_owned();
        self.take(&name, item.path.clone())?;
        Ok(name)
    }

    fn take(&mut self, name: &str, place: String) -> Result<(), ConfigError> {
        match self.taken.get(name) {
            Some(first) => {
                let message = format!(
                    "two bindings are called \"{name}\": {first} and {place}. Rename one of them"
                );
                Err(ConfigError::invalid(self.settings.file(), "", message))
            }
            None => {
                self.taken.insert(name.to_owned(), place);
                Ok(())
            }
        }
    }
}

fn items(field: Option<Field>) -> Result<Vec<Field>, ConfigError> {
    field.map_or(Ok(Vec::new()), |field| field.items())
}

pub(crate) fn optional_name(entry: &Object, key: &str) -> Result<Option<String>, ConfigError> {
    entry
        .get(key)
        .map(|field| field.name().map(str::to_owned))
        .transpose()
}

fn props(entry: &Object) -> Result<Option<Value>, ConfigError> {
    let Some(field) = entry.get("props") else {
        return Ok(None);
    };
    field.object()?;
    Ok(Some(field.value.clone()))
}
