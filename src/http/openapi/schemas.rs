//! The schemas of bodies and forms, as `components/schemas` of the document.

use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::domain::MAX_QUANTITY;

/// Bodies are described as they are read, forms as they are written.
pub struct Schemas {
    bodies: SchemaGenerator,
    forms: SchemaGenerator,
    /// Made from the others.
    derived: Map<String, Value>,
}

impl Schemas {
    pub fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12()
                .with(|settings| settings.definitions_path = "/components/schemas".into())
                .with_transform(Plain)
        };
        Self {
            bodies: settings().for_deserialize().into_generator(),
            forms: settings().for_serialize().into_generator(),
            derived: Map::new(),
        }
    }

    pub fn body<T: JsonSchema>(&mut self) -> Value {
        self.bodies.subschema_for::<T>().to_value()
    }

    pub fn form<T: JsonSchema>(&mut self) -> Value {
        self.forms.subschema_for::<T>().to_value()
    }

    /// A form as it stands, not by reference.
    pub fn form_inline<T: JsonSchema>(&mut self) -> Value {
        T::json_schema(&mut self.forms).to_value()
    }

    /// A body whose store is in the path.
    pub fn body_in_store<T: JsonSchema>(&mut self) -> Value {
        self.body::<T>();
        let mut schema = self
            .bodies
            .definitions()
            .get(&*T::schema_name())
            .cloned()
            .unwrap_or_default();
        if let Some(members) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            members.remove("storeId");
        }
        let name = format!("Level{}", T::schema_name());
        let reference = json!({"$ref": format!("#/components/schemas/{name}")});
        self.derived.insert(name, schema);
        reference
    }

    pub fn insert(&mut self, name: &str, schema: Value) {
        self.derived.insert(name.to_owned(), schema);
    }

    pub fn into_components(mut self) -> Map<String, Value> {
        let mut components = self.forms.take_definitions(true);
        components.extend(self.bodies.take_definitions(true));
        for (name, schema) in self.derived {
            let mut schema = Schema::try_from(schema).unwrap_or_default();
            Plain.transform(&mut schema);
            components.insert(name, schema.to_value());
        }
        components
    }
}

/// What is true of every schema here, and what Rust's types do not say: an optional member is left out
/// instead of null, and no integer passes what every JSON reader can hold.
#[derive(Clone)]
struct Plain;

impl Transform for Plain {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        bound(schema);
        let Some(object) = schema.as_object_mut() else { return };
        let required: Vec<String> = object
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect();
        let members = object.get_mut("properties").and_then(Value::as_object_mut);
        for (name, member) in members.into_iter().flatten() {
            if let Some(member) = member.as_object_mut()
                && !required.contains(name)
            {
                remove_null(member);
            }
        }
    }
}

/// Unsigned integers are quantities, versions and sequences; signed ones are differences of these.
fn bound(schema: &mut Schema) {
    let lowest = match schema.get("format").and_then(Value::as_str) {
        Some("uint64") => json!(0),
        Some("int64") => json!(-(MAX_QUANTITY as i64)),
        _ => return,
    };
    let Some(object) = schema.as_object_mut() else { return };
    object.insert("format".to_owned(), json!("int64"));
    object.entry("minimum").or_insert(lowest);
    object.entry("maximum").or_insert(json!(MAX_QUANTITY));
}

/// Null stays where a body says that it means something.
fn remove_null(member: &mut Map<String, Value>) {
    if member.get("default") == Some(&Value::Null) {
        member.remove("default");
    }
    if member.remove("x-nullable").is_some() {
        return;
    }
    if let Some(Value::Array(types)) = member.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            member.insert("type".to_owned(), only);
        }
    }
    let Some(Value::Array(choices)) = member.get_mut("anyOf") else {
        return;
    };
    choices.retain(|choice| choice != &json!({"type": "null"}));
    if let [Value::Object(only)] = choices.as_mut_slice() {
        let only = std::mem::take(only);
        member.remove("anyOf");
        member.extend(only);
    }
}
