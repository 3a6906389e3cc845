//! `[records.export.NAME]` of `server.toml`: where streams are sent on to.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use legwork_identity::tls::Own;
use legwork_server::ExportRule;
use serde::Deserialize;

use super::bad;
use crate::error::CommandError;

/// One of them.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Export {
    endpoint: String,
    streams: Vec<String>,
    ca: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    headers_file: Option<PathBuf>,
    batch_records: Option<usize>,
    timeout_s: Option<u64>,
    compression: Option<String>,
}

/// What they mean.
pub(super) fn rules(
    told: &BTreeMap<String, Export>,
) -> Result<BTreeMap<String, ExportRule>, CommandError> {
    let mut rules = BTreeMap::new();
    for (name, export) in told {
        let place = format!("records.export.{name}");
        let rule = rule(name, export).map_err(|what| bad(&place, &what))?;
        rules.insert(name.clone(), rule);
    }
    Ok(rules)
}

fn rule(name: &str, export: &Export) -> Result<ExportRule, String> {
    // It is the name of a directory.
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        return Err("a name has 1 to 64 letters, digits, - and _".to_owned());
    }
    let gzip = match export.compression.as_deref() {
        None | Some("none") => false,
        Some("gzip") => true,
        Some(other) => return Err(format!("compression {other:?} is neither none nor gzip")),
    };
    let ca = export.ca.as_deref().map(read).transpose()?;
    let own = own(export)?;
    let own = own
        .as_ref()
        .map(|(certificates, key)| Own { certificates, key });
    let rule = ExportRule::new(&export.endpoint, ca.as_deref(), own, export.streams.clone())?;
    let timeout = export.timeout_s.map(|s| Duration::from_secs(s.max(1)));
    let rule = rule.sending(export.batch_records, timeout, gzip);
    let Some(path) = &export.headers_file else {
        return Ok(rule);
    };
    rule.with_headers(&read_secret(path)?)
        .map_err(|what| format!("{}: {what}", path.display()))
}

/// What is shown to a receiver that asks for a certificate, and its key.
fn own(export: &Export) -> Result<Option<(String, String)>, String> {
    match (&export.certificate, &export.key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some((read(certificate)?, read_secret(key)?))),
        (Some(_), None) => Err("certificate without key".to_owned()),
        (None, Some(_)) => Err("key without certificate".to_owned()),
    }
}

fn read_secret(path: &Path) -> Result<String, String> {
    let mode = std::fs::metadata(path).map_err(|error| told(path, &error))?;
    if mode.mode() & 0o077 != 0 {
        return Err(format!(
            "{} is open to others than its owner: chmod 600",
            path.display()
        ));
    }
    read(path)
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| told(path, &error))
}

fn told(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::tests::read;

    const BEGIN: &str = "[export.lake]\nendpoint = \"http://127.0.0.1:4317\"\nstreams = [\"a\"]\n";

    #[test]
    fn an_export_is_checked_before_the_server_begins() {
        assert_eq!(read(BEGIN).unwrap().exports.len(), 1);
        for (text, told) in [
            ("[export.lake]\nstreams = [\"a\"]", "[records.export.lake]"),
            ("[export.\"a/b\"]\nendpoint = \"http://[::1]:1\"", "letters"),
            ("[export.a]\nendpoint = \"http://[::1]:1\"", "streams"),
            (
                "[export.a]\nendpoint = \"http://10.1.1.1\"\nstreams = [\"a\"]",
                "only this host",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
        for (line, told) in [
            ("compression = \"lz4\"", "neither none nor gzip"),
            ("headers_file = \"/nowhere\"", "/nowhere"),
            ("key = \"/nowhere\"", "key without certificate"),
            ("certificate = \"/nowhere\"", "certificate without key"),
            ("endpiont = 1", "endpiont"),
        ] {
            let error = read(&format!("{BEGIN}{line}\n")).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn a_file_with_headers_is_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("headers");
        std::fs::write(&path, "authorization: Bearer s3cret\n").unwrap();
        let text = format!("{BEGIN}headers_file = {path:?}\n");
        let mode = |mode| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, mode).unwrap();
        };
        mode(0o640);
        assert!(read(&text).unwrap_err().contains("chmod 600"));
        mode(0o600);
        assert!(read(&text).is_ok());
        std::fs::write(&path, "s3cret\n").unwrap();
        let error = read(&text).unwrap_err();
        assert!(
            error.contains("line 1") && !error.contains("s3cret"),
            "{error}"
        );
    }
}
