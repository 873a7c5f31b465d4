//! Typed access to the fields of a request. Clients send `null` for fields they leave out, and
//! errors name the offending field. Errors never repeat a value, because it may be text of a
//! prompt.

use serde_json::{Map, Value};

use super::fault::Fault;

/// A JSON object of a request.
#[derive(Clone)]
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
    /// Path of the object: empty for the whole body, else as in `messages[0].`.
    prefix: String,
}

impl<'a> Fields<'a> {
    /// The whole body.
    ///
    /// # Errors
    /// It is not an object.
    pub(super) fn of(body: &'a Value) -> Result<Self, Fault> {
        match body {
            Value::Object(object) => Ok(Self {
                object,
                prefix: String::new(),
            }),
            _ => Err(Fault::malformed("the body is not a JSON object")),
        }
    }

    /// A nested object, at `path`.
    ///
    /// # Errors
    /// It is not an object.
    pub(super) fn at(path: &str, value: &'a Value) -> Result<Self, Fault> {
        match value {
            Value::Object(object) => Ok(Self {
                object,
                prefix: format!("{path}."),
            }),
            _ => Err(Fault::invalid(path, format!("{path} must be an object"))),
        }
    }

    /// The path of a field.
    pub(super) fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A field's value, unless it is `null`.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// The names of all fields with a value.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a String> {
        let said = self.object.iter().filter(|(_, value)| !value.is_null());
        said.map(|(name, _)| name)
    }

    /// The error for an invalid field.
    pub(super) fn wrong(&self, name: &str, must: &str) -> Fault {
        let path = self.path(name);
        let words = format!("{path} must be {must}");
        Fault::invalid(path, words)
    }

    /// The error for a value that this node does not support.
    pub(super) fn not_done(&self, name: &str, why: &str) -> Fault {
        let path = self.path(name);
        let words = format!("{path}: {why}");
        Fault::unsupported(path, words)
    }

    fn read<T>(
        &self,
        name: &str,
        must: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Fault> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => match read(value) {
                Some(read) => Ok(Some(read)),
                None => Err(self.wrong(name, must)),
            },
        }
    }

    /// A string.
    ///
    /// # Errors
    /// The field has another type; likewise for the methods below.
    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, Fault> {
        self.read(name, "a string", Value::as_str)
    }

    /// A required string.
    pub(super) fn needed_text(&self, name: &str) -> Result<&'a str, Fault> {
        self.text(name)?
            .ok_or_else(|| self.wrong(name, "given, as a string"))
    }

    /// A boolean.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Fault> {
        self.read(name, "true or false", Value::as_bool)
    }

    /// A number.
    pub(super) fn number(&self, name: &str) -> Result<Option<f32>, Fault> {
        let finite = |value: &Value| {
            let number = value.as_f64()? as f32;
            number.is_finite().then_some(number)
        };
        self.read(name, "a number", finite)
    }

    /// An integer of either sign. Some languages write integers with a decimal point.
    pub(super) fn whole(&self, name: &str) -> Result<Option<i64>, Fault> {
        self.read(name, "a whole number", as_whole)
    }

    /// An integer of at least 0.
    pub(super) fn count(&self, name: &str) -> Result<Option<usize>, Fault> {
        let count = |value: &Value| usize::try_from(as_whole(value)?).ok();
        self.read(name, "a whole number that is not negative", count)
    }

    /// An array.
    pub(super) fn list(&self, name: &str) -> Result<Option<&'a [Value]>, Fault> {
        let list = self.read(name, "a list", Value::as_array)?;
        Ok(list.map(Vec::as_slice))
    }

    /// An object.
    pub(super) fn object(&self, name: &str) -> Result<Option<Self>, Fault> {
        self.get(name)
            .map(|value| Self::at(&self.path(name), value))
            .transpose()
    }

    /// An array of objects; empty if the field is absent.
    pub(super) fn objects(&self, name: &str) -> Result<Vec<Self>, Fault> {
        let list = self.list(name)?.unwrap_or_default();
        let path = self.path(name);
        let objects = list.iter().enumerate();
        objects
            .map(|(index, value)| Self::at(&format!("{path}[{index}]"), value))
            .collect()
    }

    /// A string or an array of strings; empty if the field is absent.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<&'a str>, Fault> {
        let texts = self.read(name, "a string or a list of strings", |value| match value {
            Value::String(text) => Some(vec![text.as_str()]),
            Value::Array(list) => list.iter().map(Value::as_str).collect(),
            _ => None,
        })?;
        Ok(texts.unwrap_or_default())
    }

    /// Refuses unsupported fields that would change the answer: each field of the table whose value
    /// is not harmless.
    ///
    /// # Errors
    /// The first such field.
    pub(super) fn refuse(&self, table: &[NotDone]) -> Result<(), Fault> {
        for not_done in table {
            if let Some(value) = self.get(not_done.name)
                && !(not_done.harmless)(value)
            {
                return Err(self.not_done(not_done.name, not_done.why));
            }
        }
        Ok(())
    }
}

/// A field that this node does not support.
pub(super) struct NotDone {
    pub(super) name: &'static str,
    /// Whether a value has no effect and can be ignored.
    pub(super) harmless: fn(&Value) -> bool,
    /// What is unsupported, and what to do instead.
    pub(super) why: &'static str,
}

/// Whether a value requests nothing: empty, zero or false.
pub(super) fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
    }
}

/// An integer. Some languages write integers with a decimal point.
pub(super) fn as_whole(value: &Value) -> Option<i64> {
    /// Integers are exact up to here.
    const MOST: f64 = (1_u64 << 53) as f64;
    value.as_i64().or_else(|| {
        let number = value.as_f64()?;
        (number.fract() == 0.0 && number.abs() <= MOST).then_some(number as i64)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn null_says_nothing_and_what_is_wrong_is_named_without_its_value() {
        let body = json!({"a": null, "b": "secret", "c": 5.0, "d": [{"e": 1}, {}], "f": -1});
        let fields = Fields::of(&body).expect("an object");
        assert_eq!(fields.text("a"), Ok(None));
        assert_eq!(fields.text("b"), Ok(Some("secret")));
        assert_eq!(fields.count("c"), Ok(Some(5)));
        assert_eq!(fields.whole("f"), Ok(Some(-1)));
        assert!(fields.count("f").is_err());
        let wrong = fields.flag("b").expect_err("a text");
        assert_eq!(wrong.message, "b must be true or false");
        let inner = fields.objects("d").expect("objects");
        let wrong = inner[0].text("e").expect_err("a number");
        assert_eq!(wrong.param.as_deref(), Some("d[0].e"));
        assert!(fields.objects("b").is_err());
        assert!(Fields::of(&json!([])).is_err());
    }

    #[test]
    fn what_is_not_done_is_refused_unless_it_makes_no_difference() {
        let table = [NotDone {
            name: "suffix",
            harmless: is_nothing,
            why: "is not done",
        }];
        let refused = |body: Value| {
            let fields = Fields::of(&body).expect("an object");
            fields.refuse(&table).err().and_then(|fault| fault.param)
        };
        for harmless in [json!({}), json!({"suffix": null}), json!({"suffix": ""})] {
            assert_eq!(refused(harmless), None);
        }
        let said = refused(json!({"suffix": "x"}));
        assert_eq!(said.as_deref(), Some("suffix"));
    }
}
