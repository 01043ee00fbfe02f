//! What must be in a record of each format, by the format's own definition, as names
//! and values that can be compared with what another program read.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::rsyslog::parsed;

/// Paths with dots between, and values. Numbers, times and addresses in text are the
/// same as others, because receivers guess types; members of a list are numbered.
pub(crate) type Fields = BTreeMap<String, String>;

pub(crate) fn object(value: Value) -> Result<Fields> {
    let mut fields = Fields::new();
    collect("", &value, &mut fields);
    Ok(fields)
}

fn collect(path: &str, value: &Value, fields: &mut Fields) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        // Receivers put members that another record has into all.
        Value::Null => {}
        Value::Object(members) => members.iter().for_each(|(name, value)| collect(&below(name), value, fields)),
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(nth, value)| collect(&below(&nth.to_string()), value, fields));
        }
        Value::String(text) => drop(fields.insert(path.to_owned(), plain(text))),
        other => drop(fields.insert(path.to_owned(), plain(&other.to_string()))),
    }
}

fn plain(text: &str) -> String {
    if let Ok(number) = text.parse::<i128>() {
        return number.to_string();
    }
    if let Some(number) = text.parse::<f64>().ok().filter(|number| number.is_finite()) {
        return number.to_string();
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return time.to_string();
    }
    text.parse::<IpAddr>().map_or_else(|_| text.to_owned(), |ip| ip.to_string())
}

pub(crate) fn json(line: &str) -> Result<Fields> {
    object(serde_json::from_str(line)?)
}

/// Tenzir makes a time of the number of seconds, which as a float is not exact.
pub(crate) fn hec(line: &str) -> Result<Fields> {
    let mut record: Value = serde_json::from_str(line)?;
    let seconds = record["time"].as_f64().context("no time")?;
    record["time"] = ((seconds * 1_000.0).round() as i64).into();
    object(record)
}

pub(crate) fn hec_object(mut record: Value) -> Result<Fields> {
    let time: jiff::Timestamp = record["time"].as_str().context("no time")?.parse()?;
    record["time"] = time.round(jiff::Unit::Millisecond)?.as_millisecond().into();
    object(record)
}

/// A header of seven parts, where `\` stands before `|` and `\`, and an extension
/// of `KEY=VALUE`, where it stands before `=`, `\`, and the n and r of line ends.
pub(crate) fn cef(line: &str) -> Result<Fields> {
    let mut header = Vec::new();
    let mut rest = line.strip_prefix("CEF:").context("no CEF")?;
    for _ in 0..7 {
        let end = unescaped(rest, '|').next().with_context(|| line.to_owned())?;
        header.push(rest[..end].replace("\\|", "|").replace("\\\\", "\\"));
        rest = &rest[end + 1..];
    }
    let signs: Vec<usize> = unescaped(rest, '=').collect();
    let start = |sign: usize| rest[..sign].rfind(' ').map_or(0, |space| space + 1);
    let mut extension = serde_json::Map::new();
    for (nth, sign) in signs.iter().enumerate() {
        let end = signs.get(nth + 1).map_or(rest.len(), |next| start(*next) - 1);
        extension.insert(rest[start(*sign)..*sign].to_owned(), unescape(&rest[sign + 1..end]).into());
    }
    let names =
        ["cef_version", "device_vendor", "device_product", "device_version", "signature_id", "name", "severity"];
    let mut record: serde_json::Map<String, Value> =
        names.iter().zip(header).map(|(name, value)| ((*name).to_owned(), value.into())).collect();
    record.insert("extension".to_owned(), extension.into());
    object(record.into())
}

/// Where this character is without `\` before it.
fn unescaped(text: &str, what: char) -> impl Iterator<Item = usize> {
    let mut is_escaped = false;
    text.char_indices().filter_map(move |(at, c)| {
        let is_it = c == what && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_it.then_some(at)
    })
}

fn unescape(text: &str) -> String {
    let (mut out, mut chars) = (String::new(), text.chars());
    while let Some(c) = chars.next() {
        match if c == '\\' { chars.next() } else { None } {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some(escaped) => out.push(escaped),
            None => out.push(c),
        }
    }
    out
}

/// A header of six parts, then `KEY=VALUE` with tabs between. There is no escaping.
pub(crate) fn leef(line: &str) -> Result<Fields> {
    let parts: Vec<&str> = line.splitn(7, '|').collect();
    let [version, vendor, product, product_version, event, "x09", rest] = parts[..] else {
        anyhow::bail!("no LEEF of version 2: {line}");
    };
    let attribute = |pair: &str| pair.split_once('=').map(|(name, value)| (name.to_owned(), Value::from(value)));
    let attributes: serde_json::Map<String, Value> = rest.split('\t').filter_map(attribute).collect();
    object(json!({
        "leef_version": version.trim_start_matches("LEEF:"), "vendor": vendor, "product_name": product,
        "product_version": product_version, "event_class_id": event, "attributes": attributes,
    }))
}

pub(crate) fn rfc5424(line: &str) -> Result<Fields> {
    let parsed = parsed(line)?;
    let text = |name: &str| parsed[name].as_str().with_context(|| line.to_owned());
    let pri: u32 = text("pri")?.parse()?;
    let (name, parameters) = text("sd")?.trim_matches(['[', ']']).split_once(' ').context("no structured data")?;
    let (mut values, mut rest) = (serde_json::Map::new(), parameters);
    while let Some((name, value)) = rest.split_once("=\"") {
        let end = unescaped(value, '"').next().with_context(|| line.to_owned())?;
        let plain = value[..end].replace("\\\"", "\"").replace("\\]", "]").replace("\\\\", "\\");
        values.insert(name.trim().to_owned(), plain.into());
        rest = &value[end + 1..];
    }
    object(json!({
        "facility": pri >> 3, "severity": pri & 7, "version": 1, "timestamp": text("time")?, "hostname": text("host")?,
        "app_name": text("app")?, "message_id": text("msgid")?, "structured_data": { name: values }, "message": text("msg")?,
    }))
}

/// The one record of a request.
pub(crate) fn otlp(line: &str) -> Result<Fields> {
    let request: Value = serde_json::from_str(line)?;
    let resource = &request["resourceLogs"][0];
    let (scope, log) = (&resource["scopeLogs"][0]["scope"], &resource["scopeLogs"][0]["logRecords"][0]);
    let time = |name: &str| log[name].as_str().and_then(|text| text.parse::<i128>().ok());
    let time = |name: &str| anyhow::Ok(jiff::Timestamp::from_nanosecond(time(name).context("no time")?)?.to_string());
    object(json!({
        "resource": attributes(&resource["resource"]), "scope": scope,
        "time": time("timeUnixNano")?, "observed_time": time("observedTimeUnixNano")?,
        "severity_number": log["severityNumber"], "severity_text": log["severityText"], "event_name": log["eventName"],
        "body": one(&log["body"]), "attributes": attributes(log),
    }))
}

pub(crate) fn otlp_object(record: Value) -> Result<Fields> {
    let scope = json!({ "name": record["scope"]["name"], "version": record["scope"]["version"] });
    object(json!({
        "resource": attributes(&record["resource"]), "scope": scope,
        "time": record["time"], "observed_time": record["observed_time"],
        "severity_number": record["severity_number"], "severity_text": record["severity_text"],
        "event_name": record["event_name"], "body": one(&record["body"]), "attributes": attributes(&record),
    }))
}

/// Keys and values of a list.
fn attributes(of: &Value) -> Value {
    let pairs = of["attributes"].as_array().into_iter().flatten();
    pairs.map(|pair| (pair["key"].as_str().unwrap_or_default().to_owned(), one(&pair["value"]))).collect()
}

/// The member of a value of OTLP that is there, whatever type it is of.
fn one(value: &Value) -> Value {
    let members = value.as_object().into_iter().flatten();
    members
        .filter(|(name, value)| *name != "kind" && !value.is_null())
        .map(|(_, value)| value.clone())
        .next()
        .unwrap_or_default()
}
