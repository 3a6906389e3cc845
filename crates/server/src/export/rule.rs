//! What the settings say of an export.

use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use legwork_identity::tls::Own;

use super::channel::Endpoint;

/// One export.
#[derive(Debug, Clone)]
pub struct ExportRule {
    pub(super) endpoint: Endpoint,
    /// Sent with each request.
    pub(super) headers: HeaderMap,
    /// What is exported.
    pub(super) streams: Vec<String>,
    /// Records of a request, and bytes of their lines.
    pub(super) batch_records: usize,
    pub(super) batch_bytes: usize,
    /// How long a request may take, the connection included.
    pub(super) timeout: Duration,
    /// Whether requests are packed.
    pub(super) gzip: bool,
}

impl ExportRule {
    /// An export of these streams to an endpoint: `https://host:port`, or `http://` on this host. `ca`: the authorities that are
    /// trusted, as PEM; without it, those of the system. `own`: what is shown to a receiver that asks for a certificate.
    ///
    /// # Errors
    /// The endpoint, the authorities, or the certificate cannot be used.
    pub fn new(
        endpoint: &str,
        ca: Option<&str>,
        own: Option<Own<'_>>,
        streams: Vec<String>,
    ) -> Result<Self, String> {
        if streams.is_empty() {
            return Err("streams are not said".to_owned());
        }
        Ok(Self {
            endpoint: Endpoint::parse(endpoint, ca, own)?,
            headers: HeaderMap::new(),
            streams,
            batch_records: 512,
            batch_bytes: 1 << 20,
            timeout: Duration::from_secs(10),
            gzip: false,
        })
    }

    /// How much a request has at most, how long it may take, and whether it is packed.
    #[must_use]
    pub fn sending(self, records: Option<usize>, timeout: Option<Duration>, gzip: bool) -> Self {
        Self {
            batch_records: records.unwrap_or(self.batch_records).clamp(1, 10_000),
            timeout: timeout.unwrap_or(self.timeout),
            gzip,
            ..self
        }
    }

    /// Sends these with each request: a line each, `name: value`.
    ///
    /// # Errors
    /// One is no header. What it says is not told: it may be a secret.
    pub fn with_headers(mut self, text: &str) -> Result<Self, String> {
        for (at, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let bad = || format!("line {} is not like `name: value`", at + 1);
            let (name, value) = line.split_once(':').ok_or_else(bad)?;
            let name: HeaderName = name.trim().parse().map_err(|_| bad())?;
            let mut value = HeaderValue::from_str(value.trim()).map_err(|_| bad())?;
            value.set_sensitive(true);
            self.headers.append(name, value);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::ExportRule;

    #[test]
    fn headers_are_lines_and_are_never_shown() {
        let rule =
            || ExportRule::new("http://127.0.0.1:1", None, None, vec!["a".to_owned()]).unwrap();
        let told = rule().with_headers("authorization: Bearer s3cret\n\nX-Team: a:b\n");
        let told = told.unwrap();
        assert_eq!(told.headers["x-team"], "a:b");
        assert!(!format!("{told:?}").contains("s3cret"));
        for bad in ["s3cret", "s3 cret: a", "a: \u{1}"] {
            let why = rule().with_headers(bad).unwrap_err();
            assert!(!why.contains("s3cret"), "{why}");
        }
        assert!(ExportRule::new("http://127.0.0.1:1", None, None, Vec::new()).is_err());
    }
}
