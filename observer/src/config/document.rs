//! Files of TOML, and what is wrong with them: every key that is asked for is known,
//! and any other is a problem.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys;

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
        write!(out, "{}: {}", self.place, observer_core::sanitize::sanitize(&self.text))
    }
}

impl std::error::Error for Problem {}

impl Problem {
    /// True if both are about the same line of a file.
    pub fn shares_line(&self, other: &Self) -> bool {
        let line = |problem: &Self| problem.place.rsplit_once(':').map(|(line, _)| line.to_owned());
        line(self).is_some_and(|line_of_self| line(other) == Some(line_of_self))
    }
}

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
                let at = error.span().and_then(|span| text.get(span)).map(literal).unwrap_or_default();
                let text = match what.as_str() {
                    "duplicate key" => format!("\"{at}\" is there twice: put both together, or remove one"),
                    _ if at.is_empty() => format!("invalid TOML: {what}"),
                    _ => format!("invalid TOML at {at}: {what}"),
                };
                Err(Problem { place, text })
            }
        }
    }
}

/// What was written, as far as a line has room for it; passwords in URLs are nobody's to read.
fn literal(text: &str) -> String {
    const SHOWN: usize = 60;
    let line = text.trim().lines().next().unwrap_or_default();
    if let (Some((scheme, _)), Some((_, rest))) = (line.split_once("://"), line.rsplit_once('@')) {
        return format!("{scheme}://***@{rest}");
    }
    let shown: String = line.chars().take(SHOWN).collect();
    if shown.len() < text.trim().len() { format!("{shown}...") } else { shown }
}

fn place(name: &str, text: &str, offset: usize) -> String {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
    let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
    format!("{name}:{line}:{column}")
}

/// Where each value came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// By its key with its section, such as `sink.siem.path`.
    keys: BTreeMap<String, String>,
    sections: BTreeMap<String, String>,
}

impl Places {
    /// A value was typed, with this option.
    pub fn typed(&mut self, key: &str, option: &str) {
        self.keys.insert(key.to_owned(), option.to_owned());
    }

    /// True if somebody wrote or typed this key.
    pub fn has(&self, section: &str, key: &str) -> bool {
        self.keys.contains_key(&format!("{section}.{key}"))
    }

    /// True if the problem is with a value that somebody wrote or typed, and not with what a
    /// section lacks or with what is built in.
    pub fn is_written(&self, problem: &Problem) -> bool {
        self.keys.values().any(|place| *place == problem.place)
    }

    /// A problem with the value of a key of a section; `text` begins with the value.
    pub fn problem(&self, section: &str, key: &str, text: &str) -> Problem {
        let name = format!("{section}.{key}");
        let text = format!("[{section}] {key} {text}");
        // Nobody wrote it: the default, or what the section lacks.
        let place = self.keys.get(&name).or_else(|| self.sections.get(section)).cloned();
        Problem { place: place.unwrap_or_else(|| "built-in default".to_owned()), text }
    }
}

/// All files; a key in a later one is stronger.
pub(super) struct Documents<'a> {
    documents: Vec<Document<'a>>,
    /// With the file and the place in it.
    problems: RefCell<Vec<(usize, usize, Problem)>>,
    /// What is understood, and hardly meant.
    remarks: RefCell<Vec<Problem>>,
    places: RefCell<Places>,
}

/// What files have beside their meaning.
pub(super) struct Heard {
    /// All that is wrong, in the order of the files.
    pub(super) problems: Vec<Problem>,
    /// What is understood, and hardly meant.
    pub(super) remarks: Vec<Problem>,
    /// Where each value is.
    pub(super) places: Places,
}

impl<'a> Documents<'a> {
    pub(super) fn new(documents: Vec<Document<'a>>) -> Self {
        Self { documents, problems: RefCell::default(), remarks: RefCell::default(), places: RefCell::default() }
    }

    /// The keys outside of any section.
    pub(super) fn root(&self) -> Section<'_, 'a> {
        let tables = self.documents.iter().enumerate().map(|(file, document)| (file, &document.table)).collect();
        Section { documents: self, name: String::new(), tables, asked: RefCell::default() }
    }

    fn problem(&self, file: usize, span: &Range<usize>, text: String) {
        let problem = Problem { place: self.place(file, span), text };
        self.problems.borrow_mut().push((file, span.start, problem));
    }

    fn literal(&self, file: usize, value: &Spanned<DeValue<'_>>) -> String {
        self.documents[file].text.get(value.span()).map(literal).unwrap_or_default()
    }

    /// What `parse` makes of a value; an error quotes it.
    fn parsed<T>(
        &self,
        file: usize,
        value: &Spanned<DeValue<'_>>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, String> {
        let given = self.literal(file, value);
        match scalar(value.get_ref()) {
            Some(text) => parse(text).map_err(|error| format!("{given}: {error}")),
            // What would be wrong in quotes too is said of that.
            None => Err(match parse(&given) {
                Err(error) => format!("{given}: {error}"),
                Ok(_) => format!("{given}: write it in quotes"),
            }),
        }
    }

    fn place(&self, file: usize, span: &Range<usize>) -> String {
        let Document { name, text, .. } = &self.documents[file];
        place(name, text, span.start)
    }

    fn found_key(&self, name: String, file: usize, span: &Range<usize>) {
        self.places.borrow_mut().keys.insert(name, self.place(file, span));
    }

    fn found_section(&self, name: String, file: usize, span: &Range<usize>) {
        self.places.borrow_mut().sections.insert(name, self.place(file, span));
    }

    pub(super) fn into_heard(self) -> Heard {
        let mut problems = self.problems.into_inner();
        problems.sort();
        Heard {
            problems: problems.into_iter().map(|(_, _, problem)| problem).collect(),
            remarks: self.remarks.into_inner(),
            places: self.places.into_inner(),
        }
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
        self.ask(key);
        let mut tables = Vec::new();
        for (file, table) in &self.tables {
            match table.get(key).map(|value| (value, value.get_ref())) {
                Some((value, DeValue::Table(inner))) => {
                    self.documents.found_section(self.named(key), *file, &value.span());
                    tables.push((*file, inner));
                }
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
                    continue;
                }
                self.documents.found_section(self.named(name.get_ref()), *file, &name.span());
                if !names.iter().any(|known| known == name.get_ref()) {
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

    /// Notes that this key is known, once.
    fn ask(&self, key: &'static str) {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
    }

    fn named(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn find(&self, key: &'static str) -> Option<Found<'s, 'a>> {
        self.ask(key);
        let found = self.tables.iter().rev().find_map(|(file, table)| Some((*file, table.get(key)?)));
        if let Some((file, value)) = &found {
            self.documents.found_key(self.named(key), *file, &value.span());
        }
        found
    }

    /// Yes or no.
    pub(super) fn flag(&self, key: &'static str, default: bool) -> bool {
        let Some((file, value)) = self.find(key) else { return default };
        if let DeValue::Boolean(is_set) = value.get_ref() {
            return *is_set;
        }
        let given = self.documents.literal(file, value);
        self.documents.problem(file, &value.span(), format!("\"{key}\" is {given}: expected true or false"));
        default
    }

    /// What `parse` makes of a string or a number; its errors name the cure.
    pub(super) fn optional<T>(&self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let (file, value) = self.find(key)?;
        let parsed = self.documents.parsed(file, value, parse);
        parsed.map_err(|error| self.documents.problem(file, &value.span(), format!("\"{key}\" is {error}"))).ok()
    }

    /// True if the key is there, whatever its value.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.tables.iter().any(|(_, table)| table.contains_key(key))
    }

    /// Values of a list as it was written, right or wrong; `None`: it is not there.
    pub(super) fn length(&self, key: &'static str) -> Option<usize> {
        let (_, value) = self.find(key)?;
        Some(if let DeValue::Array(values) = value.get_ref() { values.len() } else { 1 })
    }

    /// As [`Self::optional`], where it has a default.
    pub(super) fn value<T>(&self, key: &'static str, default: T, parse: impl Fn(&str) -> Result<T, String>) -> T {
        self.optional(key, parse).unwrap_or(default)
    }

    /// As [`Self::optional`], where it has none.
    pub(super) fn required<T>(&self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        if !self.has(key) {
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
            match self.documents.parsed(file, value, &parse) {
                Ok(parsed) => list.push(parsed),
                Err(error) => self.documents.problem(file, &value.span(), format!("\"{key}\" has {error}")),
            }
        }
        Some(list)
    }

    /// Says what `odd` has to say of the strings of a list, or of the one that it is.
    pub(super) fn remark(&self, key: &'static str, odd: impl Fn(&str) -> Option<String>) {
        let Some((file, value)) = self.find(key) else { return };
        let values: Vec<_> = match value.get_ref() {
            DeValue::Array(list) => list.iter().collect(),
            _ => vec![value],
        };
        for value in values {
            if let Some(text) = scalar(value.get_ref()).and_then(&odd) {
                let (place, given) = (self.documents.place(file, &value.span()), self.documents.literal(file, value));
                let text = format!("[{}] {key} has {given}: {text}", self.name);
                self.documents.remarks.borrow_mut().push(Problem { place, text });
            }
        }
    }

    /// Whatever was not asked for is unknown. `what` is said of the section.
    pub(super) fn finish(self, what: &str) {
        let asked = self.asked.into_inner();
        for (file, table) in &self.tables {
            for (key, value) in table.iter().filter(|(key, _)| !asked.contains(&key.get_ref().as_ref())) {
                let place = if self.name.is_empty() { String::new() } else { format!(" in [{}]", self.name) };
                let name = key.get_ref();
                let is_loose = self.name.is_empty() && !matches!(value.get_ref(), DeValue::Table(_));
                let text = match homes(name).filter(|_| is_loose) {
                    Some(homes) => format!("\"{name}\" stands before any section: write it below {homes}"),
                    None => format!("unknown key \"{name}\"{place}{what}{}", cure(name, &asked)),
                };
                self.documents.problem(*file, &key.span(), text);
            }
        }
    }
}

/// The sections that have a key of this name, or nearly so: `[socket] or [history]`.
fn homes(key: &str) -> Option<String> {
    let with = |is_it: &dyn Fn(&str) -> bool| {
        let sections = keys::names().into_iter().filter(|(_, names)| names.iter().any(|name| is_it(name)));
        sections.map(|(section, _)| section).collect::<Vec<_>>()
    };
    let exact = with(&|name| name == key);
    let (sections, other) = if exact.is_empty() {
        let nearest = keys::names().into_iter().flat_map(|(_, names)| names).find(|name| is_near(key, name))?;
        (with(&|name| name == nearest), format!(", as \"{nearest}\""))
    } else {
        (exact, String::new())
    };
    let sections: Vec<_> = sections.iter().map(|section| format!("[{section}]")).collect();
    Some(sections.join(" or ") + &other)
}

fn is_near(a: &str, b: &str) -> bool {
    strsim::normalized_damerau_levenshtein(a, b) >= 0.75
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
