//! Reads settings one by one, and knows afterwards which nobody asked for.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use super::ConfigError;

/// A file's table with an environment over it.
pub(super) struct Reader {
    table: Table,
    environment: BTreeMap<String, String>,
    known: BTreeMap<&'static str, BTreeSet<&'static str>>,
}

/// A setting as it was given, and the name it was given by.
struct Given {
    name: String,
    value: Value,
    from_environment: bool,
}

impl Given {
    fn wrong(&self, allowed: &str) -> ConfigError {
        // One line, whatever was given.
        let value: String = self.value.to_string().replace(['\n', '\r'], " ").chars().take(80).collect();
        ConfigError(format!("{} is {value}; it must be {allowed}", self.name))
    }
}

impl Reader {
    pub(super) fn new(text: &str, environment: BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let table = text.parse::<Table>().map_err(|error: toml::de::Error| {
            let before = error.span().map_or("", |span| text.get(..span.start).unwrap_or(text));
            let line = before.matches('\n').count() + 1;
            ConfigError(format!("line {line}: {}", error.message().replace('\n', " ")))
        })?;
        Ok(Self { table, environment, known: BTreeMap::new() })
    }

    /// A setting that is text.
    pub(super) fn text<T>(
        &mut self,
        section: &'static str,
        key: &'static str,
        default: T,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let Some(given) = self.take(section, key) else { return Ok(default) };
        given.value.as_str().and_then(parse).ok_or_else(|| given.wrong(allowed))
    }

    /// A setting that is a whole number from `least` to `most`.
    pub(super) fn number<T>(
        &mut self,
        section: &'static str,
        key: &'static str,
        default: T,
        least: T,
        most: T,
    ) -> Result<T, ConfigError>
    where
        T: TryFrom<i64> + PartialOrd + std::fmt::Display,
    {
        let Some(given) = self.take(section, key) else { return Ok(default) };
        let number = match &given.value {
            Value::Integer(number) => Some(*number),
            Value::String(text) if given.from_environment => text.trim().parse().ok(),
            _ => None,
        };
        number
            .and_then(|number| T::try_from(number).ok())
            .filter(|number| *number >= least && *number <= most)
            .ok_or_else(|| given.wrong(&format!("a whole number from {least} to {most}")))
    }

    /// A setting that is true or false.
    pub(super) fn boolean(
        &mut self,
        section: &'static str,
        key: &'static str,
        default: bool,
    ) -> Result<bool, ConfigError> {
        let Some(given) = self.take(section, key) else { return Ok(default) };
        match &given.value {
            Value::Boolean(value) => Ok(*value),
            Value::String(text) if given.from_environment => {
                text.trim().parse().map_err(|_| given.wrong("true or false"))
            }
            _ => Err(given.wrong("true or false")),
        }
    }

    /// A setting that is a list of texts; in the environment, divided by commas.
    pub(super) fn list<T>(
        &mut self,
        section: &'static str,
        key: &'static str,
        default: Vec<T>,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, ConfigError> {
        let Some(given) = self.take(section, key) else { return Ok(default) };
        let list = match &given.value {
            Value::Array(values) => values.iter().map(|value| value.as_str().and_then(&parse)).collect(),
            Value::String(text) if given.from_environment => {
                text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(&parse).collect()
            }
            _ => None,
        };
        list.ok_or_else(|| given.wrong(allowed))
    }

    /// Refuses what was given and never read. To be called last.
    pub(super) fn finish(self) -> Result<(), ConfigError> {
        let sections = || join(self.known.keys());
        for (section, value) in &self.table {
            match (self.known.get(section.as_str()), value) {
                (Some(keys), Value::Table(table)) => {
                    if let Some(key) = table.keys().next() {
                        return Err(unknown(&format!("{section}.{key}"), section, keys));
                    }
                }
                (None, Value::Table(_)) => {
                    return Err(ConfigError(format!("[{section}] is no section; there are {}", sections())));
                }
                (_, _) => {
                    return Err(ConfigError(format!(
                        "{section} stands outside a section; there are {}",
                        sections()
                    )));
                }
            }
        }
        if let Some(name) = self.environment.keys().next() {
            for (section, keys) in &self.known {
                if name.starts_with(&format!("HEWEI_{}_", section.to_uppercase())) {
                    return Err(unknown(name, section, keys));
                }
            }
            // A setting that is silently not in effect is worse than a server that does not start.
            let sections = sections();
            return Err(ConfigError(format!(
                "{name} is no setting; correct or unset it. Sections are {sections}"
            )));
        }
        Ok(())
    }

    fn take(&mut self, section: &'static str, key: &'static str) -> Option<Given> {
        self.known.entry(section).or_default().insert(key);
        let from_file = match self.table.get_mut(section) {
            Some(Value::Table(table)) => table.remove(key),
            _ => None,
        };
        let name = format!("HEWEI_{}_{}", section.to_uppercase(), key.to_uppercase());
        if let Some(text) = self.environment.remove(&name) {
            return Some(Given { name, value: Value::String(text), from_environment: true });
        }
        from_file.map(|value| Given { name: format!("{section}.{key}"), value, from_environment: false })
    }

    #[cfg(test)]
    pub(super) fn keys(&self) -> Vec<String> {
        let mut keys: Vec<_> = self
            .table
            .iter()
            .flat_map(|(section, value)| {
                value.as_table().into_iter().flatten().map(move |(key, _)| format!("{section}.{key}"))
            })
            .collect();
        keys.sort();
        keys
    }
}

fn unknown(name: &str, section: &str, keys: &BTreeSet<&'static str>) -> ConfigError {
    ConfigError(format!("{name} is no setting; [{section}] has {}", join(keys.iter())))
}

fn join<'a>(words: impl Iterator<Item = &'a &'static str>) -> String {
    words.copied().collect::<Vec<_>>().join(", ")
}
