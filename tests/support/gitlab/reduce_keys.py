#!/usr/bin/env python3
"""Makes src/gitlab_rb/keys.json, what gitlab.rb knows, from the full table of facts.

    tests/support/gitlab/reduce_keys.py gitlab-rb-keys.json > src/gitlab_rb/keys.json

The full table was read off the package's own sources (its attributes, template, recipes and list of deprecations).
Kept are: for each section its keys, with the release that brought a key if that is later than the oldest release
gantry installs; the keys that every service with a log has; and what was deprecated, removed, or is simply gone.
Below a key the package passes most things on, so members of a key are kept only where it does not, or where they are
young.
"""

import json
import sys

OLDEST = (18, 11)
# What the table calls "on the main branch only" comes with the release after its newest.
MAIN = "19.4"
# Groups of keys that moved have the same members as their old place: only their members are checked.
CLOSED = ["gitlab_kas/nginx", "gitlab_pages/nginx", "gitlab_rails/nginx", "registry/nginx"]


def release(text):
    major, minor = text.split(".")[:2]
    return int(major), int(minor)


def since(entry):
    text = entry.get("since")
    if text == "after-newest-release":
        text = MAIN
    return text if text and release(text) > OLDEST else None


def main():
    table = json.load(open(sys.argv[1]))
    common = set(table["service_log_keys"]["keys"])
    with_logs = set(table["service_log_keys"]["sections"])
    sections = {}
    for name, section in sorted(table["sections"].items()):
        keys = []
        for key, entry in sorted(section["keys"].items()):
            first = key.split("/")[0]
            closed = any(f"{name}/{key}".startswith(group + "/") for group in CLOSED)
            if "/" in key and not closed and not since(entry):
                continue
            if first in common and name in with_logs:
                continue
            keys.append(key + (f"@{since(entry)}" if since(entry) else ""))
        out = {"kind": section["kind"]}
        if since(section):
            out["since"] = since(section)
        if name in with_logs:
            out["logs"] = True
        out["keys"] = " ".join(keys)
        sections[name] = out
    old = []
    for entry in table["deprecations"]:
        old.append([
            "/".join(entry["path"]),
            entry["deprecated_in"],
            entry["removed_in"],
            " or ".join(entry["replacement"]),
        ])
    moved = table["nginx_moved_keys"]
    for key in moved["keys"]:
        old.append([f"nginx/{key}", moved["since"], None, f"gitlab_rails['nginx']['{key}']"])
    for section, place in sorted(moved["sections"].items()):
        above, below = place.split("/")
        old.append([section, moved["since"], None, f"{above}['{below}']"])
    print(json.dumps({
        "source": f"{table['source']['repository']} at {table['source']['commit']}, {table['source']['commit_date']}",
        "newest_release": table["source"]["newest_release_in_changelog"],
        "common": " ".join(sorted(common)),
        "sections": sections,
        "old": sorted(old, key=lambda line: line[0]),
        "gone": {**table["gone_sections"], **table["gone_keys"]},
    }, indent=1))


main()
