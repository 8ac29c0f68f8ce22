//! From a struct of scalars to texts.

use std::fmt::Display;

use serde::ser::{Error as _, Impossible, Serialize, SerializeStruct, Serializer};

use crate::stream::Fields;
use crate::stream::record::{RecordError, is_reserved};

pub(crate) fn encode(record: &impl Serialize) -> Result<Fields, RecordError> {
    let refused = |refusal: Refusal| RecordError::NotPrimitive { reason: refusal.0 };
    record.serialize(Whole).map_err(refused)
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refusal(String);

impl serde::ser::Error for Refusal {
    fn custom<T: Display>(reason: T) -> Self {
        Self(reason.to_string())
    }
}

type Never<T> = Impossible<T, Refusal>;

/// Methods of a [`Serializer`] that have nothing to give but a refusal.
macro_rules! refuse {
    ($what:expr, $ok:ty; $($name:ident($($arg:ty),*) -> $out:ty;)*) => {
        $(fn $name(self, $(_: $arg),*) -> Result<$out, Refusal> {
            Err(Refusal::custom($what))
        })*
    };
}

/// What is neither a struct nor wraps one.
macro_rules! refuse_compounds {
    ($what:expr, $ok:ty) => {
        type SerializeSeq = Never<$ok>;
        type SerializeTuple = Never<$ok>;
        type SerializeTupleStruct = Never<$ok>;
        type SerializeTupleVariant = Never<$ok>;
        type SerializeMap = Never<$ok>;
        type SerializeStructVariant = Never<$ok>;

        refuse! { $what, $ok;
            serialize_unit() -> $ok;
            serialize_unit_struct(&'static str) -> $ok;
            serialize_seq(Option<usize>) -> Self::SerializeSeq;
            serialize_tuple(usize) -> Self::SerializeTuple;
            serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
            serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
            serialize_map(Option<usize>) -> Self::SerializeMap;
            serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant;
        }

        fn serialize_newtype_struct<T: Serialize + ?Sized>(
            self,
            _: &'static str,
            value: &T,
        ) -> Result<$ok, Refusal> {
            value.serialize(self)
        }

        fn serialize_newtype_variant<T: Serialize + ?Sized>(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
            _: &T,
        ) -> Result<$ok, Refusal> {
            Err(Refusal::custom($what))
        }
    };
}

const NO_STRUCT: &str = "it is no struct with named fields";

const NO_SCALAR: &str = "it is no number, text or truth value";

/// The record as a whole.
struct Whole;

impl Serializer for Whole {
    type Ok = Fields;
    type Error = Refusal;
    type SerializeStruct = Named;

    refuse_compounds!(NO_STRUCT, Fields);

    refuse! { NO_STRUCT, Fields;
        serialize_bool(bool) -> Fields;
        serialize_i8(i8) -> Fields;
        serialize_i16(i16) -> Fields;
        serialize_i32(i32) -> Fields;
        serialize_i64(i64) -> Fields;
        serialize_i128(i128) -> Fields;
        serialize_u8(u8) -> Fields;
        serialize_u16(u16) -> Fields;
        serialize_u32(u32) -> Fields;
        serialize_u64(u64) -> Fields;
        serialize_u128(u128) -> Fields;
        serialize_f32(f32) -> Fields;
        serialize_f64(f64) -> Fields;
        serialize_char(char) -> Fields;
        serialize_str(&str) -> Fields;
        serialize_bytes(&[u8]) -> Fields;
        serialize_none() -> Fields;
        serialize_unit_variant(&'static str, u32, &'static str) -> Fields;
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<Fields, Refusal> {
        Err(Refusal::custom(NO_STRUCT))
    }

    fn serialize_struct(self, _: &'static str, len: usize) -> Result<Named, Refusal> {
        Ok(Named(Vec::with_capacity(len)))
    }
}

struct Named(Vec<(&'static str, Vec<u8>)>);

impl SerializeStruct for Named {
    type Ok = Fields;
    type Error = Refusal;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Refusal> {
        if is_reserved(name) {
            let reason = format!("`{name}` is the field of nested records (name it otherwise)");
            return Err(Refusal(reason));
        }
        let value = value.serialize(Scalar);
        let value = value.map_err(|refusal| Refusal(format!("field `{name}`: {refusal}")))?;
        // An absent one is `None` to its reader.
        if let Some(value) = value {
            self.0.push((name, value));
        }
        Ok(())
    }

    fn end(self) -> Result<Fields, Refusal> {
        Ok(self.0.into_iter().collect())
    }
}

/// One field; `None` is left out.
struct Scalar;

type Text = Option<Vec<u8>>;

macro_rules! write_text {
    ($($name:ident($ty:ty);)*) => {
        $(fn $name(self, value: $ty) -> Result<Text, Refusal> {
            Ok(Some(value.to_string().into_bytes()))
        })*
    };
}

impl Serializer for Scalar {
    type Ok = Text;
    type Error = Refusal;
    type SerializeStruct = Never<Text>;

    refuse_compounds!(NO_SCALAR, Text);

    write_text! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_i128(i128);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_u128(u128);
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_char(char);
        serialize_str(&str);
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Text, Refusal> {
        Ok(Some(value.to_vec()))
    }

    fn serialize_none(self) -> Result<Text, Refusal> {
        Ok(None)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Text, Refusal> {
        match value.serialize(self)? {
            Some(text) => Ok(Some(text)),
            None => Err(Refusal::custom("it is an `Option` within an `Option`")),
        }
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Text, Refusal> {
        Ok(Some(variant.into()))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Never<Text>, Refusal> {
        Err(Refusal::custom(NO_SCALAR))
    }
}
