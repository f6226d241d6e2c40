//! A key that takes one value or a list of them.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The values of a key: one, or several of which each makes a case of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sweep<T>(Vec<T>);

impl<T> Sweep<T> {
    /// A single value.
    pub fn one(value: T) -> Self {
        Self(vec![value])
    }

    /// Several values, `None` of none.
    pub fn several(values: Vec<T>) -> Option<Self> {
        (!values.is_empty()).then_some(Self(values))
    }

    /// The first value.
    pub fn first(&self) -> &T {
        self.0.first().expect("a sweep has a value at least")
    }

    /// What `change` makes of each value.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Sweep<U> {
        Sweep(self.0.into_iter().map(change).collect())
    }

    /// The values, at least one.
    pub fn values(&self) -> &[T] {
        &self.0
    }
}

impl<T: Serialize> Serialize for Sweep<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [value] => value.serialize(serializer),
            values => values.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Sweep<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMany(PhantomData))
    }
}

/// Not an untagged enum: its errors would neither name the type nor the value.
struct OneOrMany<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMany<T> {
    type Value = Sweep<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or a list of values")
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Sweep<T>, E> {
        T::deserialize(value.into_deserializer()).map(Sweep::one)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Sweep<T>, E> {
        T::deserialize(value.into_deserializer()).map(Sweep::one)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Sweep<T>, E> {
        T::deserialize(value.into_deserializer()).map(Sweep::one)
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Sweep<T>, E> {
        T::deserialize(value.into_deserializer()).map(Sweep::one)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Sweep<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Sweep::one)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Sweep<T>, A::Error> {
        let values = Vec::deserialize(SeqAccessDeserializer::new(list))?;
        match values.is_empty() {
            true => Err(serde::de::Error::custom("an empty list: write a value")),
            false => Ok(Sweep(values)),
        }
    }
}

impl<T: JsonSchema> JsonSchema for Sweep<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Sweep_of_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({
            "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }]
        })
    }
}
