//! Version 1 of containers-registries.conf(5), which older systems still have:
//!
//! ```toml
//! [registries.search]
//! registries = ["docker.io"]
//! [registries.insecure]
//! registries = ["registry.example:5000"]
//! [registries.block]
//! registries = ["bad.example"]
//! ```
//!
//! It is read as containers/image reads it: as tables of version 2 without mirrors. Both versions
//! in one file are an error, as is version 1 in a drop-in; lists without an entry say nothing.

use toml::{Table as Toml, Value};

use super::registries::Table;
use super::registries_file::Reader;
use crate::error::Result;

/// As [`Reader::read`] has it.
type Read = (Vec<Table>, Option<Vec<String>>);

impl Reader<'_> {
    /// Takes what is of version 1 out of the file; none if nothing is.
    pub(super) fn version_1(&self, whole: &mut Toml) -> Result<Option<Read>> {
        let mut lists = match whole.remove("registries") {
            None => return Ok(None),
            Some(Value::Table(lists)) => lists,
            Some(_) => return Err(self.wrong("registries", "must be a table")),
        };
        let search = self.list(&mut lists, "search")?;
        let insecure = self.list(&mut lists, "insecure")?;
        let blocked = self.list(&mut lists, "block")?;
        self.nothing_else(&lists)?;
        if search.is_empty() && insecure.is_empty() && blocked.is_empty() {
            return Ok(None);
        }
        self.check_unmixed(whole)?;
        let mut tables: Vec<Table> = Vec::new();
        for name in blocked {
            self.of_registry(&mut tables, "block", &name)?.is_blocked = true;
        }
        for name in insecure {
            self.of_registry(&mut tables, "insecure", &name)?
                .is_insecure = true;
        }
        Ok(Some((tables, Some(search))))
    }

    /// The names in `[registries.KEY]`.
    fn list(&self, lists: &mut Toml, key: &str) -> Result<Vec<String>> {
        let mut list = match lists.remove(key) {
            None => return Ok(Vec::new()),
            Some(Value::Table(list)) => list,
            Some(_) => return Err(self.wrong(key, "must be a table")),
        };
        let names = list.remove("registries");
        self.nothing_else(&list)?;
        names.map_or(Ok(Vec::new()), |names| self.texts("registries", names))
    }

    fn check_unmixed(&self, others: &Toml) -> Result<()> {
        let advice = "write [[registry]] tables instead";
        if self.is_drop_in {
            let why = format!("version 1 of the format has no place in a drop-in: {advice}");
            return Err(self.wrong("registries", &why));
        }
        let says_nothing = |value: &Value| match value {
            Value::Array(values) => values.is_empty(),
            Value::Table(table) => table.is_empty(),
            _ => false,
        };
        match others.iter().find(|(_, value)| !says_nothing(value)) {
            None => Ok(()),
            Some((key, _)) => {
                let why = format!("is of version 1, but {key} of version 2: {advice}");
                Err(self.wrong("registries", &why))
            }
        }
    }

    /// The table of a registry, which is made when it is first named.
    fn of_registry<'t>(
        &self,
        tables: &'t mut Vec<Table>,
        key: &str,
        name: &str,
    ) -> Result<&'t mut Table> {
        let prefix = self.place(key, name)?.text();
        let known = tables.iter().position(|table| table.prefix == prefix);
        let index = known.unwrap_or(tables.len());
        if known.is_none() {
            tables.push(Table {
                file: self.path.to_owned(),
                prefix,
                location: None,
                is_insecure: false,
                is_blocked: false,
                mirrors: Vec::new(),
            });
        }
        Ok(&mut tables[index])
    }
}
