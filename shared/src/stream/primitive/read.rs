//! From texts to a struct of scalars.

use std::str::FromStr;

use serde::de::value::{Error, MapDeserializer, StrDeserializer};
use serde::de::{DeserializeOwned, Deserializer, Error as _, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use crate::stream::Fields;
use crate::stream::record::RecordError;

/// Longest part of a value that an error shows, in characters.
const SHOWN: usize = 64;

pub(crate) fn decode<T: DeserializeOwned>(fields: &Fields) -> Result<T, RecordError> {
    let fields = fields
        .iter()
        .map(|(name, value)| (name, Text { name, value }));
    T::deserialize(MapDeserializer::new(fields)).map_err(|error: Error| RecordError::Read {
        reason: error.to_string(),
    })
}

/// A field's value, which becomes what its reader wants it to be.
struct Text<'de> {
    name: &'de str,
    value: &'de [u8],
}

impl<'de> Text<'de> {
    fn text(&self) -> Result<&'de str, Error> {
        std::str::from_utf8(self.value).map_err(|_| self.wrong("it is no text"))
    }

    fn wrong(&self, reason: impl std::fmt::Display) -> Error {
        Error::custom(format_args!("field `{}`: {reason}", self.name))
    }

    fn parse<T: FromStr>(&self) -> Result<T, Error> {
        let text = self.text()?;
        text.parse().map_err(|_| {
            let shown: String = text.chars().take(SHOWN).collect();
            let wanted = std::any::type_name::<T>();
            self.wrong(format_args!("expected {wanted}, got `{shown}`"))
        })
    }

    /// The error of a visitor does not know the field.
    fn named<T>(&self, visited: Result<T, Error>) -> Result<T, Error> {
        visited.map_err(|error| self.wrong(error))
    }
}

impl<'de> IntoDeserializer<'de> for Text<'de> {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! read_text {
    ($($name:ident => $visit:ident;)*) => {
        $(fn $name<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let visited = visitor.$visit(self.parse()?);
            self.named(visited)
        })*
    };
}

impl<'de> Deserializer<'de> for Text<'de> {
    type Error = Error;

    read_text! {
        deserialize_bool => visit_bool;
        deserialize_i8 => visit_i8;
        deserialize_i16 => visit_i16;
        deserialize_i32 => visit_i32;
        deserialize_i64 => visit_i64;
        deserialize_i128 => visit_i128;
        deserialize_u8 => visit_u8;
        deserialize_u16 => visit_u16;
        deserialize_u32 => visit_u32;
        deserialize_u64 => visit_u64;
        deserialize_u128 => visit_u128;
        deserialize_f32 => visit_f32;
        deserialize_f64 => visit_f64;
        deserialize_char => visit_char;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let visited = visitor.visit_borrowed_str(self.text()?);
        self.named(visited)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let visited = visitor.visit_borrowed_bytes(self.value);
        self.named(visited)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let text: StrDeserializer<'_, Error> = self.text()?.into_deserializer();
        let visited = text.deserialize_enum(name, variants, visitor);
        self.named(visited)
    }

    // Also of a value that is no text: nobody reads it.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        str string unit unit_struct seq tuple tuple_struct map struct identifier
    }
}
