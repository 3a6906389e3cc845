//! Files that people write: TOML in which every key is known.

use std::io::ErrorKind;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{CommandError, FAILED};
use crate::sync_settings::SyncSettings;
use crate::{files, paths};

/// How alike two words must be for one to be meant by the other.
const ALIKE: f64 = 0.7;

/// What the user has settled.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct UserConfig {
    /// The context to use when nothing else says which.
    pub(crate) current: Option<String>,
    /// How mirrors are made.
    #[serde(default)]
    pub(crate) sync: SyncSettings,
}

impl UserConfig {
    /// What the user's file says; nothing if there is none.
    pub(crate) fn load() -> Result<Self, CommandError> {
        Ok(read(&paths::config_file()?, &["current", "sync"])?.unwrap_or_default())
    }

    /// Puts it in the place of the user's file.
    pub(crate) fn store(&self) -> Result<(), CommandError> {
        let mut text = toml::Table::new();
        if let Some(current) = &self.current {
            text.insert("current".into(), current.clone().into());
        }
        // What the user wrote there stays, whatever is changed here.
        if self.sync != SyncSettings::default()
            && let Ok(sync) = toml::Value::try_from(&self.sync)
        {
            text.insert("sync".into(), sync);
        }
        let path = paths::config_file()?;
        if let Some(dir) = path.parent() {
            files::private_dir(dir)?;
        }
        files::replace(&path, text.to_string().as_bytes())
    }
}

/// Reads a file whose keys are `known`; `None` if it is not there.
pub(crate) fn read<T: DeserializeOwned>(
    file: &Path,
    known: &[&str],
) -> Result<Option<T>, CommandError> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(bad(file, &e.to_string())),
    };
    let table: toml::Table = toml::from_str(&text).map_err(|e| bad(file, &e.to_string()))?;
    if let Some(key) = table.keys().find(|key| !known.contains(&key.as_str())) {
        let advice = match nearest(key, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the only keys there are: `{}`", known.join("`, `")),
        };
        return Err(bad(file, &format!("unknown key `{key}`")).hint(advice));
    }
    let read = table.try_into::<T>();
    read.map(Some).map_err(|e| {
        let told = bad(file, e.to_string().trim_end());
        match suggestion(e.message()) {
            Some(near) => told.hint(format!("did you mean `{near}`?")),
            None => told,
        }
    })
}

/// The key that was meant, from the parser's "unknown field `x`, expected one of `y`, `z`".
pub(crate) fn suggestion(message: &str) -> Option<&str> {
    let words = message.strip_prefix("unknown field ")?.split('`');
    let mut words = words.skip(1).step_by(2);
    nearest(words.next()?, words)
}

/// What was probably meant by a word that is none of these.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|known| (strsim::jaro_winkler(word, known), known))
        .filter(|(alike, _)| *alike > ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

fn bad(file: &Path, what: &str) -> CommandError {
    CommandError::new(FAILED, "BAD_CONFIG", format!("{}: {what}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::{UserConfig, nearest, read};

    #[test]
    fn unknown_keys_are_told_with_what_was_meant() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        let load = |text: &str| {
            std::fs::write(&file, text).unwrap();
            read::<UserConfig>(&file, &["current", "sync"])
        };
        let current = load("current = \"box\"").unwrap().unwrap().current;
        assert_eq!(current.as_deref(), Some("box"));
        let error = load("[sync]\nbwlimt = \"1K\"").unwrap_err();
        assert_eq!(error.hint.as_deref(), Some("did you mean `bwlimit`?"));
        let error = load("curent = \"box\"").unwrap_err();
        assert!(error.message.contains("`curent`"), "{error:?}");
        assert_eq!(error.hint.as_deref(), Some("did you mean `current`?"));
        assert!(
            load("zzz = 1")
                .unwrap_err()
                .hint
                .unwrap()
                .contains("only keys")
        );
        assert_eq!(load("current = 1").unwrap_err().reason, "BAD_CONFIG");
        assert_eq!(load("current").unwrap_err().reason, "BAD_CONFIG");
        let nowhere = dir.path().join("nowhere");
        assert!(read::<UserConfig>(&nowhere, &[]).unwrap().is_none());
    }

    #[test]
    fn only_what_is_alike_is_suggested() {
        assert_eq!(nearest("boks", ["box", "lab"].into_iter()), Some("box"));
        assert_eq!(nearest("q", ["box", "lab"].into_iter()), None);
    }
}
