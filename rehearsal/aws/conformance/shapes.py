"""Makes calls with the aws CLI and holds what comes over the wire against botocore's model of the service.

stdin: {"endpoint": URL, "calls": [{"call": "ec2 DescribeVpcs", "params": {...}, "keep": {NAME: JMESPATH}, "args": [text]}],
        "kept": {NAME: text}}
  A string "{NAME}" in params is replaced by what an earlier call kept, or by what "kept" has.
stdout: one JSON object a line, per call: {"call", "error", "findings": [text], "paths": [dotted names of the fields that are there]}
"""
import contextlib
import io
import json
import re
import sys
import xml.etree.ElementTree as ET

import jmespath
from awscli.clidriver import create_clidriver
from botocore import xform_name

NUMBER = re.compile(r"^-?[0-9]+(\.[0-9]+)?$")
ISO = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")


class Walk:
    """Walks a raw answer beside its shape. What the shape does not have, or has otherwise, is a finding."""

    def __init__(self):
        self.findings, self.paths = [], set()

    def found(self, path, what):
        self.findings.append(f"{path}: {what}")

    def scalar(self, shape, value, path):
        kind = shape.type_name
        if kind in ("integer", "long", "double", "float") and not NUMBER.match(value):
            self.found(path, f"{value!r} is no {kind}")
        if kind == "boolean" and value not in ("true", "false"):
            self.found(path, f"{value!r} is no boolean")
        if kind == "timestamp" and not ISO.match(value):
            self.found(path, f"{value!r} is no ISO 8601 time in UTC")
        if kind == "string":
            self.enum(shape, value, path)

    def enum(self, shape, value, path):
        if getattr(shape, "enum", None) and value not in shape.enum:
            self.found(path, f"{value!r} is none of {', '.join(shape.enum)}")

    def required(self, shape, have, path):
        for name in shape.required_members:
            if name not in have:
                self.found(path, f"lacks required {name}")

    def xml(self, shape, el, path, flat):
        if shape.type_name == "structure":
            names = {m.serialization.get("name", n): n for n, m in shape.members.items()}
            flattened = {m.member.serialization.get("name", "member"): n for n, m in shape.members.items()
                         if m.type_name == "list" and m.serialization.get("flattened")}
            names.update({k: v for k, v in flattened.items() if k not in names})
            have = set()
            for child in el:
                name = names.get(local(child))
                if name is None:
                    if local(child) not in ("requestId", "ResponseMetadata"):
                        self.found(path, f"has {local(child)}, which the model does not know")
                    continue
                have.add(name)
                self.paths.add(f"{path}.{name}")
                member = shape.members[name]
                if member.type_name == "list" and member.serialization.get("flattened"):  # S3's: every element is an item
                    self.xml(member.member, child, f"{path}.{name}[]", flat)
                else:
                    self.xml(member, child, f"{path}.{name}", flat)
            self.required(shape, have, path)
        elif shape.type_name == "list":
            want = shape.member.serialization.get("name", flat)
            for child in el:
                if local(child) != want:
                    self.found(path, f"has {local(child)} in a list of {want}")
                self.paths.add(path + "[]")
                self.xml(shape.member, child, path + "[]", flat)
        elif shape.type_name == "map":
            pass
        else:
            self.scalar(shape, el.text or "", path)

    def json(self, shape, value, path):
        kind = shape.type_name
        if value is None:
            return
        if kind == "structure":
            if not isinstance(value, dict):
                return self.found(path, "is no structure")
            names = {m.serialization.get("name", n): n for n, m in shape.members.items()}
            for key, v in value.items():
                if key not in names:
                    self.found(path, f"has {key}, which the model does not know")
                elif v is not None:
                    self.paths.add(f"{path}.{names[key]}")
                    self.json(shape.members[names[key]], v, f"{path}.{names[key]}")
            self.required(shape, {names.get(k) for k in value}, path)
        elif kind == "list":
            if not isinstance(value, list):
                return self.found(path, "is no list")
            for v in value:
                self.paths.add(path + "[]")
                self.json(shape.member, v, path + "[]")
        elif kind == "map":
            if not isinstance(value, dict):
                return self.found(path, "is no map")
            for v in value.values():
                self.paths.add(path + "{}")
                self.json(shape.value, v, path + "{}")
        elif kind in ("integer", "long", "double", "float", "timestamp"):
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                self.found(path, f"{value!r} is no number, as {kind} is in JSON")
        elif kind == "boolean":
            if not isinstance(value, bool):
                self.found(path, f"{value!r} is no boolean")
        elif kind == "string":
            if not isinstance(value, str):
                return self.found(path, f"{value!r} is no string")
            self.enum(shape, value, path)


def local(el):
    return el.tag.rpartition("}")[2]


def rest_xml(walk, shape, http):
    """Walks an answer of S3: of its fields some are headers, and one may be the body as it is."""
    for name, member in shape.members.items():
        if member.serialization.get("location") == "header" and member.serialization["name"].lower() in http.headers:
            walk.paths.add(f".{name}")
    if http.content and "payload" not in shape.serialization:
        walk.xml(shape, ET.fromstring(http.content), "", "member")


def compare(model, http):
    """What is wrong with a raw answer, and the fields that it has."""
    content = http.content
    walk, shape = Walk(), model.output_shape
    protocol = model.service_model.protocol
    if shape is None:
        return walk
    if protocol in ("ec2", "query"):
        root = ET.fromstring(content)
        if local(root) != model.name + "Response":
            walk.found("", f"root is {local(root)}")
        wrapper = shape.serialization.get("resultWrapper")
        if wrapper:
            inner = [c for c in root if local(c) == wrapper]
            if not inner:
                walk.found("", f"lacks {wrapper}")
                return walk
            root = inner[0]
        walk.xml(shape, root, "", "item" if protocol == "ec2" else "member")
    elif protocol == "rest-xml":
        rest_xml(walk, shape, http)
    else:
        walk.json(shape, json.loads(content or b"{}"), "")
    return walk


def fill(value, kept):
    if isinstance(value, dict):
        return {k: fill(v, kept) for k, v in value.items()}
    if isinstance(value, list):
        return [fill(v, kept) for v in value]
    if isinstance(value, str) and value.startswith("{") and value.endswith("}") and value[1:-1] in kept:
        return kept[value[1:-1]]
    return value


def main():
    job = json.load(sys.stdin)
    driver = create_clidriver()
    seen, kept = [], dict(job["kept"])
    driver.session.register("after-call", lambda http_response, parsed, model, **_: seen.append((http_response, parsed, model)))
    for call in job["calls"]:
        service, operation = call["call"].split()
        seen.clear()
        said, complained = io.StringIO(), io.StringIO()
        args = [service, xform_name(operation, "-"), "--endpoint-url", job["endpoint"], "--output", "json", "--no-paginate",
                *(call.get("args") or ["--cli-input-json", json.dumps(fill(call.get("params", {}), kept))])]
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
            code = driver.main(args)
        out = {"call": call["call"], "error": "", "findings": [], "paths": []}
        if code != 0 or not seen:
            out["error"] = complained.getvalue().strip()[:160] or f"exit {code}"
        else:
            http, parsed, model = seen[-1]
            walk = compare(model, http)
            out["findings"], out["paths"] = sorted(set(walk.findings)), sorted(walk.paths)
            for name, path in call.get("keep", {}).items():
                kept[name] = jmespath.search(path, parsed)
                if kept[name] is None:
                    out["findings"].append(f"{path}: nothing there")
        print(json.dumps(out), flush=True)


main()
