//! A JSON Schema that the records of a stream have to fit.

use std::fmt;

use jsonschema::Validator;

use crate::batch::Check;

/// A schema, compiled once. It never fetches anything: what it refers to has to be in it.
pub struct Schema(Validator);

/// A schema that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no JSON Schema that can be used: {why}")]
pub struct BadSchema {
    /// Why.
    pub why: String,
}

impl Schema {
    /// Compiles a schema, of the draft that it names or the newest.
    ///
    /// # Errors
    /// It is not JSON, not a schema, or refers to something elsewhere.
    pub fn compile(schema: &str) -> Result<Self, BadSchema> {
        let bad = |why: String| BadSchema { why };
        let schema = serde_json::from_str(schema).map_err(|error| bad(error.to_string()))?;
        let compiled = jsonschema::validator_for(&schema);
        compiled.map(Self).map_err(|error| bad(error.to_string()))
    }
}

impl Check for Schema {
    fn check(&self, record: &[u8]) -> Result<(), (String, String)> {
        let record: serde_json::Value = match serde_json::from_slice(record) {
            Ok(record) => record,
            // A number beyond those of the library that looks at them.
            Err(error) => return Err((String::new(), error.to_string())),
        };
        match self.0.validate(&record) {
            Ok(()) => Ok(()),
            Err(error) => Err((error.instance_path().to_string(), error.to_string())),
        }
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Schema")
    }
}

#[cfg(test)]
mod tests {
    use super::Schema;
    use crate::batch::Observed;
    use crate::rejection::Reason;
    use crate::validate::Validator;

    #[test]
    fn a_record_that_does_not_fit_is_refused_alone_and_told_where() {
        let schema = r#"{"type":"object","required":["n"],"properties":{"n":{"type":"integer"}}}"#;
        let schema = Schema::compile(schema).unwrap();
        let input = b"{\"n\":1}\n{\"n\":\"x\"}\n{}\n{\"n\":1e999}\n{\"n\":4}";
        let batch = Validator::default()
            .batch(input, Observed::Unsaid, Some(&schema))
            .unwrap();
        assert_eq!(batch.len(), 2);
        let told = &batch.rejections().records;
        let places: Vec<_> = told
            .iter()
            .map(|told| (told.index, told.field.as_str()))
            .collect();
        assert_eq!(places, [(1, "/n"), (2, ""), (3, "")]);
        assert!(told.iter().all(|told| told.reason == Reason::Schema));
        assert!(told[0].message.contains("integer"), "{}", told[0].message);
    }

    #[test]
    fn a_schema_that_cannot_be_used_says_why() {
        for bad in [
            "{",
            r#"{"type":"unheard"}"#,
            r#"{"$ref":"https://example.invalid/other"}"#,
        ] {
            assert!(!Schema::compile(bad).unwrap_err().why.is_empty(), "{bad}");
        }
    }
}
