# On the deploy node, before the first migration: extensions that migrations count on, and databases beside GitLab's
# own with their users. What is there already is left alone.
stage_databases() {
    local psql=$ROOT/opt/gitlab/embedded/bin/psql
    [[ $(field databases) == true ]] || return 0
    [[ -x $psql ]] || refuse "there is no $psql: the package brings it"
    prepare_databases "$RUN/bundle/manifest.json" "$ETC/secrets.json" "$psql" "$ROOT/etc/gitlab/ssl/rds-bundle.pem" ||
        refuse "the databases cannot be prepared"
}

# Passwords reach psql by its environment, which only root may read, and the server as what it keeps of a password:
# the verifier, so that no statement that is logged anywhere holds one.
prepare_databases() {
    python3 -c '
import base64, hashlib, hmac, json, os, re, subprocess, sys
manifest, secrets, psql, authorities = sys.argv[1:]
with open(manifest, encoding="utf-8") as file:
    main = json.load(file)["database"]
with open(secrets, encoding="utf-8") as file:
    values = json.load(file)

def plain(word):
    if not re.fullmatch("[a-z_][a-z0-9_]{0,62}", word):
        sys.exit(repr(word) + " is no name in a database")
    return word

def ask(user, secret, database, sql):
    surroundings = dict(os.environ, PGPASSWORD=values[secret], PGSSLMODE="verify-full", PGSSLROOTCERT=authorities,
                        PGCONNECT_TIMEOUT="10", PGOPTIONS="-c client_min_messages=warning")
    words = [psql, "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1",
             "--host=" + main["host"], "--port=" + str(main["port"]), "--username=" + user, "--dbname=" + database]
    return subprocess.run(words, input=sql, env=surroundings, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)

def must(database, sql):
    done = ask(plain(main["user"]), main["secret"], database, sql)
    if done.returncode != 0:
        sys.exit(database + ": " + done.stdout)

# RFC 5802, in the words of PostgreSQL.
def verifier(password):
    salt, rounds = os.urandom(16), 4096
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    sign = lambda text: hmac.new(salted, text, "sha256").digest()
    parts = [salt, hashlib.sha256(sign(b"Client Key")).digest(), sign(b"Server Key")]
    salt, stored, server = (base64.b64encode(part).decode() for part in parts)
    return "SCRAM-SHA-256$%d:%s$%s:%s" % (rounds, salt, stored, server)

must(plain(main["name"]), "".join("CREATE EXTENSION IF NOT EXISTS %s;\n" % plain(e) for e in main["extensions"]))
for other in main["beside"]:
    name, user = plain(other["name"]), plain(other["user"])
    if ask(user, other["secret"], name, "SELECT 1;\n").returncode == 0:
        continue
    print("making the database", name, "and its user", user)
    must(main["name"], """
SELECT {q}CREATE ROLE {user}{q} WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {q}{user}{q}) \\gexec
ALTER ROLE {user} LOGIN PASSWORD {q}{verifier}{q};
GRANT {user} TO {main};
SELECT {q}CREATE DATABASE {name} OWNER {user}{q} WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = {q}{name}{q}) \\gexec
""".format(q="$" * 2, user=user, name=name, main=plain(main["user"]), verifier=verifier(values[other["secret"]])))
    done = ask(user, other["secret"], name, "SELECT 1;\n")
    if done.returncode != 0:
        sys.exit(user + " cannot use the database " + name + ": " + done.stdout)
' "$@"
}
