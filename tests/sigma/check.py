"""Checks Sigma rules and runs them: check.py DIRECTORY DOCUMENTS

DOCUMENTS has an ECS document a line. Prints JSON: what pySigma finds wrong, the
fields that the rules name, the queries for Elasticsearch, and what each rule
finds among the documents.
"""

import json
import sqlite3
import sys

from sigma.backends.elasticsearch import ESQLBackend
from sigma.backends.sqlite import sqliteBackend
from sigma.collection import SigmaCollection
from sigma.correlations import SigmaCorrelationRule
from sigma.validation import SigmaValidator
from sigma.validators.core import validators

# Two fetch lists from the network; the third would have numbers in user.id, which
# ECS says is a string.
LEFT_OUT = {"attacktag", "d3_fendtag", "number_as_string"}


def flat(value, prefix=""):
    """The document's members by the names that rules have for them."""
    for name, member in value.items():
        if isinstance(member, dict):
            yield from flat(member, f"{prefix}{name}.")
        else:
            yield prefix + name, json.dumps(member) if isinstance(member, list) else member


def database(path):
    with open(path, encoding="utf-8") as lines:
        documents = [dict(flat(json.loads(line))) for line in lines]
    columns = sorted({name for document in documents for name in document} - {"@timestamp"})
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    names = ", ".join(f"`{name}`" for name in ["timestamp", *columns])
    connection.execute(f"CREATE TABLE logs ({names})")
    places = ", ".join("?" * (len(columns) + 1))
    for document in documents:
        row = [document["@timestamp"], *(document.get(name) for name in columns)]
        connection.execute(f"INSERT INTO logs ({names}) VALUES ({places})", row)
    return connection, columns


def fields(rule):
    if isinstance(rule, SigmaCorrelationRule):
        named = {rule.condition.fieldref} if rule.condition.fieldref else set()
        return named | set(rule.group_by or [])
    return set(rule.fields) | set(detected(rule.detection.detections.values()))


def detected(items):
    for item in items:
        if hasattr(item, "detection_items"):
            yield from detected(item.detection_items)
        elif item.field is not None:
            yield item.field


def found(connection, query):
    # Of a rule that a correlation counts there is but the condition.
    if not query.startswith(("SELECT ", "WITH ")):
        query = f"SELECT * FROM logs WHERE {query}"
    for row in connection.execute(query):
        yield row["group_keys"] if "group_keys" in row.keys() else row["event.id"]


def main(rules, documents):
    collection = SigmaCollection.load_ruleset([rules])
    # Puts correlations behind the rules that they count.
    collection.resolve_rule_references()
    local = [validator for name, validator in validators.items() if name not in LEFT_OUT]
    issues = [str(error) for rule in collection.rules for error in rule.errors]
    issues += [str(issue) for issue in SigmaValidator(local).validate_rules(iter(collection.rules))]
    connection, columns = database(documents)
    sqliteBackend().convert(collection)
    matches = {}
    for rule in collection.rules:
        queries = rule.get_conversion_result()
        matches[rule.name] = sorted({match for query in queries for match in found(connection, query)})
    result = {
        "issues": issues,
        "fields": sorted({field for rule in collection.rules for field in fields(rule)}),
        "columns": columns,
        "esql": [str(query) for query in ESQLBackend().convert(collection)],
        "matches": matches,
    }
    json.dump(result, sys.stdout, indent=1)


main(*sys.argv[1:])
