"""Writes the JSON schema of each OCSF class that observer uses into a directory."""

import json
import sys

import ocsf_json_schema

directory, version = sys.argv[1:]
schema = ocsf_json_schema.OcsfJsonSchemaEmbedded(ocsf_json_schema.get_ocsf_schema(version))
for name in ("network_activity", "detection_finding", "application_error"):
    with open(f"{directory}/{name}.json", "w") as file:
        json.dump(schema.get_class_schema(name, ["host"]), file)
