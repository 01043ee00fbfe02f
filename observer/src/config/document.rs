//! Files of TOML, and what is wrong with them: every key that is asked for is known,
//! and any other is a problem.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Something wrong, or worth a word: where, what, and the cure, in one line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// `FILE:LINE:COLUMN`, or the file alone.
    pub place: String,
    /// What is wrong, and the cure.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.place, crate::sanitize::sanitize(&self.text))
    }
}

impl std::error::Error for Problem {}

/// A file that parses.
pub(super) struct Document<'a> {
    name: &'a str,
    text: &'a str,
    table: DeTable<'a>,
}

impl<'a> Document<'a> {
    /// Parses a file.
    pub(super) fn parse(name: &'a str, text: &'a str) -> Result<Self, Problem> {
        match DeTable::parse(text) {
            Ok(table) => Ok(Self { name, text, table: table.into_inner() }),
            Err(error) => {
                let place = place(name, text, error.span().unwrap_or_default().start);
                // The library's own may have several lines.
                let what = error.message().lines().collect::<Vec<_>>().join(": ");
                Err(Problem { place, text: format!("this is not TOML: {what}") })
            }
        }
    }
}

fn place(name: &str, text: &str, offset: usize) -> String {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
    let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
    format!("{name}:{line}:{column}")
}

/// All files; a key in a later one is stronger.
pub(super) struct Documents<'a> {
    documents: Vec<Document<'a>>,
    /// With the file and the place in it.
    problems: RefCell<Vec<(usize, usize, Problem)>>,
}

impl<'a> Documents<'a> {
    pub(super) fn new(documents: Vec<Document<'a>>) -> Self {
        Self { documents, problems: RefCell::default() }
    }

    /// The keys outside of any section.
    pub(super) fn root(&self) -> Section<'_, 'a> {
        let tables = self.documents.iter().enumerate().map(|(file, document)| (file, &document.table)).collect();
        Section { documents: self, name: String::new(), tables, asked: RefCell::default() }
    }

    fn problem(&self, file: usize, span: &Range<usize>, text: String) {
        let Document { name, text: whole, .. } = &self.documents[file];
        let problem = Problem { place: place(name, whole, span.start), text };
        self.problems.borrow_mut().push((file, span.start, problem));
    }

    /// All that is wrong, in the order of the files.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort();
        problems.into_iter().map(|(_, _, problem)| problem).collect()
    }
}

/// A table, from every file that has it.
pub(super) struct Section<'s, 'a> {
    documents: &'s Documents<'a>,
    name: String,
    tables: Vec<(usize, &'s DeTable<'a>)>,
    asked: RefCell<Vec<&'static str>>,
}

type Found<'s, 'a> = (usize, &'s Spanned<DeValue<'a>>);

impl<'s, 'a> Section<'s, 'a> {
    /// The section of that name within this one.
    pub(super) fn section(&self, key: &'static str) -> Section<'s, 'a> {
        self.asked.borrow_mut().push(key);
        let mut tables = Vec::new();
        for (file, table) in &self.tables {
            match table.get(key).map(|value| (value, value.get_ref())) {
                Some((_, DeValue::Table(inner))) => tables.push((*file, inner)),
                Some((value, _)) => {
                    self.documents.problem(*file, &value.span(), format!("\"{key}\" is a section: [{key}]"))
                }
                None => {}
            }
        }
        Section { documents: self.documents, name: self.named(key), tables, asked: RefCell::default() }
    }

    /// Every section within this one; their names are the user's.
    pub(super) fn sections(&self) -> Vec<(String, Section<'s, 'a>)> {
        let mut names: Vec<String> = Vec::new();
        for (file, table) in &self.tables {
            for (name, value) in table.iter() {
                if !matches!(value.get_ref(), DeValue::Table(_)) {
                    let text = format!("[{}] holds sections alone, such as [{}]", self.name, self.named("NAME"));
                    self.documents.problem(*file, &name.span(), text);
                } else if !names.iter().any(|known| known == name.get_ref()) {
                    names.push(name.get_ref().to_string());
                }
            }
        }
        let section = |name: &String| {
            let inner = |(file, table): &(usize, &'s DeTable<'a>)| match table.get(name.as_str())?.get_ref() {
                DeValue::Table(inner) => Some((*file, inner)),
                _ => None,
            };
            let tables = self.tables.iter().filter_map(inner).collect();
            Section { documents: self.documents, name: self.named(name), tables, asked: RefCell::default() }
        };
        names.iter().map(|name| (name.clone(), section(name))).collect()
    }

    fn named(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn find(&self, key: &'static str) -> Option<Found<'s, 'a>> {
        self.asked.borrow_mut().push(key);
        self.tables.iter().rev().find_map(|(file, table)| Some((*file, table.get(key)?)))
    }

    /// Yes or no.
    pub(super) fn flag(&self, key: &'static str, default: bool) -> bool {
        let Some((file, value)) = self.find(key) else { return default };
        if let DeValue::Boolean(is_set) = value.get_ref() {
            return *is_set;
        }
        self.documents.problem(file, &value.span(), format!("\"{key}\" is true or false"));
        default
    }

    /// What `parse` makes of a string or a number; its errors name the cure.
    pub(super) fn optional<T>(&self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let (file, value) = self.find(key)?;
        match scalar(value.get_ref()).map(parse) {
            Some(Ok(parsed)) => return Some(parsed),
            Some(Err(error)) => self.documents.problem(file, &value.span(), format!("\"{key}\" is {error}")),
            None => self.documents.problem(file, &value.span(), format!("\"{key}\" is a string: write it in quotes")),
        }
        None
    }

    /// As [`Self::optional`], where it has a default.
    pub(super) fn value<T>(&self, key: &'static str, default: T, parse: impl Fn(&str) -> Result<T, String>) -> T {
        self.optional(key, parse).unwrap_or(default)
    }

    /// As [`Self::optional`], where it has none.
    pub(super) fn required<T>(&self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let is_there = self.tables.iter().any(|(_, table)| table.contains_key(key));
        if !is_there {
            self.lacks(&format!("[{}] needs the key \"{key}\"", self.name));
        }
        self.optional(key, parse)
    }

    /// Something that the section as a whole lacks.
    pub(super) fn lacks(&self, text: &str) {
        let Some((file, table)) = self.tables.first() else { return };
        let span = table.iter().next().map(|(key, _)| key.span()).unwrap_or_default();
        self.documents.problem(*file, &span, text.to_owned());
    }

    /// A problem with the value of a key.
    pub(super) fn object(&self, key: &'static str, text: String) {
        match self.find(key) {
            Some((file, value)) => self.documents.problem(file, &value.span(), text),
            None => self.lacks(&text),
        }
    }

    /// A list of what `parse` makes of its strings and numbers, or one of them.
    pub(super) fn list<T>(&self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<Vec<T>> {
        let (file, value) = self.find(key)?;
        let DeValue::Array(values) = value.get_ref() else {
            return self.optional(key, parse).map(|single| vec![single]);
        };
        let mut list = Vec::new();
        for value in values.iter() {
            match scalar(value.get_ref()).map(&parse) {
                Some(Ok(parsed)) => list.push(parsed),
                Some(Err(error)) => self.documents.problem(file, &value.span(), format!("in \"{key}\" is {error}")),
                None => self.documents.problem(file, &value.span(), format!("\"{key}\" is a list of strings")),
            }
        }
        Some(list)
    }

    /// Whatever was not asked for is unknown. `what` is said of the section.
    pub(super) fn finish(self, what: &str) {
        let asked = self.asked.into_inner();
        for (file, table) in &self.tables {
            for key in table.keys().filter(|key| !asked.contains(&key.get_ref().as_ref())) {
                let place = if self.name.is_empty() { String::new() } else { format!(" in [{}]", self.name) };
                let text = format!("unknown key \"{}\"{place}{what}{}", key.get_ref(), cure(key.get_ref(), &asked));
                self.documents.problem(*file, &key.span(), text);
            }
        }
    }
}

fn scalar<'v>(value: &'v DeValue<'_>) -> Option<&'v str> {
    match value {
        DeValue::String(text) => Some(text),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str()),
        _ => None,
    }
}

fn cure(key: &str, known: &[&'static str]) -> String {
    let near = |name: &&&str| strsim::normalized_damerau_levenshtein(key, name);
    let nearest = known.iter().max_by(|a, b| near(a).total_cmp(&near(b))).filter(|name| near(name) >= 0.5);
    match nearest {
        Some(name) => format!(": did you mean \"{name}\"?"),
        None => format!(": it can have {}", known.join(", ")),
    }
}
