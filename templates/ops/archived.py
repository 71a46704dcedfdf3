# Brings every repository of an archive of gitlab-backup back, one after the other, into an empty one beside the
# archive, the way Gitaly does: unpack the bundle, set its refs, point HEAD. Prints a line of JSON each: a digest of all
# its refs, made as refs.rb makes it of the living repository, or what is wrong. Gitaly lists the refs a moment before it
# writes the bundle; where the two are unlike, that is told as well. The last line says that everything was looked at.
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile

archive, backup, git = sys.argv[1:]
# One repository at a time: there is room for all of them where GitLab staged them.
work = archive + ".restored"
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": work,
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
}


class Wrong(Exception):
    pass


def ask(*words, stdin=b"", content=None):
    with open(work + "/said", "wb") as said:
        child = subprocess.Popen([git, *words], cwd=work, env=ENVIRONMENT, stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, stderr=said)
    try:
        # Git answers only when it has read everything.
        if content is not None:
            shutil.copyfileobj(content, child.stdin, 1 << 20)
        else:
            child.stdin.write(stdin)
        child.stdin.close()
    except BrokenPipeError:
        pass
    answer = child.stdout.read()
    child.stdout.close()
    if child.wait() != 0:
        with open(work + "/said", encoding="utf-8", errors="replace") as said:
            spoken = [line for line in said.read().split("\n") if line.strip()] or ["it says nothing"]
        # What follows a fatal error is only that somebody died of it.
        why = next((line for line in spoken if line.startswith("fatal:")), spoken[-1])
        raise Wrong("git " + words[0] + ": " + why)
    return answer


def lines(text):
    return [line for line in text.split(b"\n") if line]


# `<object> <name>`, without HEAD.
def refs_of(text):
    return sorted(line for line in lines(text) if line.partition(b" ")[2] != b"HEAD")


def heads_of(text):
    return {line.partition(b" ")[0] for line in lines(text) if line.partition(b" ")[2] == b"HEAD"}


def values(manifest):
    found = {}
    setting = r"""(?m)^\s*(\w+)\s*=\s*(?:'([^'\n]*)'|("(?:[^"\\\n]|\\.)*"))\s*$"""
    for name, plain, quoted in re.findall(setting, manifest):
        found.setdefault(name, []).append(json.loads(quoted) if quoted else plain)
    return found


def read(members, path, what):
    member = members.get("repositories/" + path)
    if member is None:
        raise Wrong(what + " is not in the archive")
    return tar.extractfile(member)


def bring_back(members, manifest):
    told = values(manifest.decode("utf-8"))
    if len(told.get("ref_path", [])) != 1:
        raise Wrong("its manifest is not that of one whole backup")
    noted = read(members, told["ref_path"][0], "the list of its refs").read()
    heads, held = heads_of(noted), b""
    os.mkdir(work)
    ask("init", "--quiet", "--bare", "--object-format=" + told.get("object_format", ["sha1"])[0], ".")
    if noted:
        bundle = read(members, told["bundle_path"][0], "its bundle")
        held = ask("bundle", "unbundle", "/dev/stdin", content=bundle)
        heads |= heads_of(held)
        orders = [b"create %s\0%s\0" % (name, at) for at, _, name in (ref.partition(b" ") for ref in refs_of(held))]
        ask("update-ref", "-z", "--stdin", stdin=b"".join(orders))
        ask("rev-list", "--objects", "--all", "--quiet")
    has = refs_of(ask("for-each-ref", "--format=%(objectname) %(refname)"))
    for head in told.get("head_reference", []):
        ask("symbolic-ref", "HEAD", head)
        if heads:
            heads |= set(lines(ask("rev-parse", "HEAD")))
    found = {"refs": hashlib.sha256(b"".join(line + b"\n" for line in has)).hexdigest()}
    # What the bundle has beside HEAD and refs is no ref.
    unlike = {line.partition(b" ")[2] for other in (noted, held) for line in set(has) ^ set(refs_of(other))}
    if len(heads) > 1:
        unlike.add(b"HEAD")
    if unlike:
        found["unlike"] = min(unlike).decode("utf-8", "replace")
    return found


def attempt(members, manifest):
    try:
        return bring_back(members, manifest)
    except Wrong as wrong:
        return {"wrong": str(wrong)}
    except (ValueError, KeyError):
        return {"wrong": "its manifest cannot be read"}
    finally:
        shutil.rmtree(work, ignore_errors=True)


# Python ends quietly where a header of the archive is damaged; tar does not. Neither minds an archive that was cut off
# between two files, and lacks the two blocks of zeros at its end.
def is_whole():
    listed = subprocess.run(["tar", "--list", "--file", archive], stdout=subprocess.DEVNULL, check=False)
    with open(archive, "rb") as file:
        file.seek(-min(1024, os.path.getsize(archive)), os.SEEK_END)
        return listed.returncode == 0 and file.read() == bytes(1024)


def main():
    if not is_whole():
        sys.exit("the archive cannot be read to its end")
    members = {os.path.normpath(member.name): member for member in tar}
    whose = re.compile(r"repositories/manifests/[^/]+/(.+)\.git/" + re.escape(backup) + r"\.toml")
    named = set()
    count = 0
    for name in sorted(members):
        found = whose.fullmatch(name)
        if found is None:
            continue
        manifest = tar.extractfile(members[name]).read()
        bundles = re.findall(r"""[^'"\n]+\.bundle""", manifest.decode("utf-8", "replace"))
        named.update("repositories/" + path for path in bundles)
        print(json.dumps({"repository": found[1], **attempt(members, manifest)}))
        count += 1
    for name in sorted(members):
        if name.startswith("repositories/") and name.endswith(".bundle") and name not in named:
            path = os.path.dirname(name)[len("repositories/"):]
            print(json.dumps({"repository": path, "wrong": "no manifest names its bundle"}))
    print(json.dumps({"read": count}))


signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
# What an earlier look left that was killed.
shutil.rmtree(work, ignore_errors=True)
os.umask(0o077)
with tarfile.open(archive, "r:") as tar:
    main()
