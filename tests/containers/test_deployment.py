"""docker-compose.yaml as committed, in containers: built, started, broken, restored and updated.

The tests build on one another and run in this order; the first failure ends the module.
"""

from __future__ import annotations

import json
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from demo.samples import SAMPLES
from testing.builder import write_study
from tests.containers.site import ADDRESS, RESOLVED, Site, folder, say

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1500)]

COUNTS = ("delivered", "filtered", "quarantined", "duplicate")
#: Size added to the base image; docs/production.md explains it. With the 332 MB base used for
#: these tests, the image is at most 1.2 GB.
MAX_OWN_BYTES = 0.868e9
SERVICES = {
    *("postgres", "redis", "api-server", "scheduler", "dag-processor", "worker", "nginx"),
}
#: Users of the OpenID provider, and the status of each path in openid.py.
PEOPLE = {
    "anna": [200, 200, 200],  # of the group of admins
    "oliver": [200, 200, 403],  # of the operators
    "vera": [200, 403, 403],  # of the viewers
    "nobody": [403, 403, 403],  # of none
}
CONNECTIONS = ("sendit_ledger", "google_cloud_default", "sendit_dasher")
#: API routes open to everybody: signing in, and whether the server is up.
OPEN_TO_ALL = {
    *("GET /api/v2/auth/login", "GET /api/v2/monitor/health", "GET /api/v2/version"),
    *("GET /auth/docs", "GET /auth/docs/oauth2-redirect", "GET /auth/openapi.json"),
    *("GET /auth/redoc", "GET /docs", "GET /docs/oauth2-redirect", "GET /health"),
    *("GET /openapi.json", "GET /redoc", "POST /auth/token", "POST /auth/token/cli"),
}
#: What a Viewer may do beside reading: POSTs that only read, favourites and tokens. The rest look
#: up the object before they check the user, and here there are no objects.
VIEWER_POSTS = {
    "POST /api/v2/dags/{dag_id}/dagRuns/list",
    "POST /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/list",
    *("POST /api/v2/dags/{dag_id}/favorite", "POST /api/v2/dags/{dag_id}/unfavorite"),
    *("POST /auth/token", "POST /auth/token/cli", "POST /ui/auth/token"),
    "POST /api/v2/connections/enqueue-test",
    *(f"PUT /api/v2/backfills/{{backfill_id}}/{verb}" for verb in ("cancel", "pause", "unpause")),
    "PUT /api/v2/parseDagFile/{file_token}",
}
#: Only an Admin sees other users and their actions.
ADMIN = {
    *("GET /api/v2/eventLogs", "GET /api/v2/eventLogs/{event_log_id}"),
    "GET /auth/fab/v1/permissions",
    *(f"{method} /auth/fab/v1/users" for method in ("GET", "POST")),
    *(f"{method} /auth/fab/v1/users/{{username}}" for method in ("GET", "PATCH", "DELETE")),
    *(f"{method} /auth/fab/v1/roles" for method in ("GET", "POST")),
    *(f"{method} /auth/fab/v1/roles/{{name}}" for method in ("GET", "PATCH", "DELETE")),
}
#: What even a Viewer may not read: secrets, and other users' data.
NOT_READ = {
    *("GET /api/v2/connections", "GET /api/v2/connections/{connection_id}"),
    *("GET /api/v2/variables", "GET /api/v2/variables/{variable_key:path}"),
}
#: The configuration is shown to nobody ([api] expose_config), and there are no teams.
NOBODY = {
    *("GET /api/v2/config", "GET /api/v2/config/section/{section}/option/{option}"),
    "GET /ui/teams",
}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    site = Site()
    try:
        site.send_checkout()
        site.prepare()
        yield site
    finally:
        say("removing the site")
        site.end()


def test_image_build(site: Site) -> None:
    say("building the images")
    site.compose("--profile browser build", patience=1400)
    base = next(
        line.removeprefix("ARG BASE=") for line in site.here("grep ^ARG Dockerfile").splitlines()
    )
    whole, under = (
        int(site.run(f"docker image inspect --format '{{{{.Size}}}}' {image}"))
        for image in ("sendit:2.0.0", base)
    )
    say(f"the image has {whole / 1e6:.0f} MB, of which {under / 1e6:.0f} are its base")
    assert whole - under <= MAX_OWN_BYTES
    # Under any uid, the program's files are readable and cannot be changed.
    look = "find /opt/sendit /opt/airflow ! -type l \\( -writable -o ! -readable \\)"
    unsuitable = site.run(f"docker run --rm --user 4321:0 sendit:2.0.0 {look}").split()
    assert unsuitable == ["/opt/airflow/logs"]
    printed = site.run("docker run --rm --user 4321:0 sendit:2.0.0 sendit --version")
    assert "sendit 2." in printed


def test_all_services_become_healthy(site: Site) -> None:
    say("starting for the first time")
    begun = time.monotonic()
    site.compose("up --detach --wait", patience=900)
    say(f"all healthy after {time.monotonic() - begun:.0f} s")
    states = site.states()
    assert states["init"] == "exited (0)"
    assert {name: states[name] for name in SERVICES} == dict.fromkeys(SERVICES, "running (healthy)")


def test_network_isolation(site: Site) -> None:
    published = [
        each["Service"]
        for each in map(json.loads, site.compose("ps --format json").splitlines())
        if any(port["PublishedPort"] for port in each["Publishers"] or ())
    ]
    assert published == ["nginx"]
    assert site.ask("/execution/")[0] == 404
    assert site.ask("/api/v2/dags")[0] == 401
    plain = "curl -s -o /dev/null -w '%{http_code} %{redirect_url}' http://127.0.0.1:8080/dags"
    assert site.run(plain).startswith("301 https://")
    reach = (
        "import socket, sys\n"
        "for name, port in (('postgres', 5432), ('redis', 6379), ('api-server', 8080),"
        " ('worker', 8793), ('gcs', 4443)):\n"
        "    try: socket.create_connection((name, port), 5).close()\n"
        "    except OSError: continue\n"
        "    print(name)\n"
    )
    expected = {
        "worker": {"postgres", "redis", "api-server", "gcs"},
        "scheduler": {"postgres", "redis", "api-server"},
        "dag-processor": {"postgres", "api-server"},
        "api-server": {"postgres", "api-server"},
    }
    for service, needed in expected.items():
        reached = site.compose(f"exec -T {service} python -", given=reach).split()
        assert set(reached) == needed, service
    # Stand-ins for Google Cloud represent external services.
    assert site.compose("exec -T gcs python -", given=reach).split() == ["gcs"]
    held = site.inside("worker", "ls /run/secrets").split()
    assert sorted(held) == ["broker_url", "connections.yaml", "google_key.json", "sendit_key"]


def test_sample_studies(site: Site) -> None:
    make = "from pathlib import Path; from demo.samples import make_samples; "
    make += "make_samples(Path('/out'))"
    site.compose(
        f'run --rm --no-deps -T --user {site.uid}:0 -v {site.input}:/out gcs python -c "{make}"'
    )
    site.inside("scheduler", "airflow dags unpause sendit >/dev/null")  # takes everything
    wanted = Counter((each.status, *(getattr(each, n) for n in COUNTS)) for each in SAMPLES)
    begun = time.monotonic()

    def ended() -> bool:
        batches = [(each["status"], *(each[n] for n in COUNTS)) for each in site.batches()]
        return Counter(batches) == wanted

    site.wait("the samples to end as they must", ended)
    site.wait("the run to end", lambda: not site.unfinished())
    say(f"after {time.monotonic() - begun:.0f} s")
    assert verified(site)


def test_doctor(site: Site) -> None:
    doctor = (
        "exec -T worker sh -c 'cat >/tmp/tls.crt; sendit doctor --certificate /tmp/tls.crt'"
        " <secrets/tls.crt 2>/dev/null"
    )
    look = f"curl -sS --cacert secrets/tls.crt {RESOLVED} {ADDRESS}/api/v2/version"
    # The UI's host name does not resolve in these networks; the file is on the machine.
    printed = site.compose(doctor, check=False)
    say("the doctor says:\n" + printed)
    assert "WRONG" not in printed
    assert printed.count("\n") >= 13
    assert "all compressions can be decoded and encoded, and text in an image" in printed
    assert "certificate: expires in 36" in printed
    site.here(look)

    site.here("cp secrets/tls.crt secrets/tls.key ..")
    certificate, key = expired_certificate("sendit.example.org")
    for name, content in (("tls.crt", certificate), ("tls.key", key)):
        site.here(f"cat >secrets/{name}", given=content)
    site.compose("restart nginx")
    site.wait(
        "an expired certificate to be refused",
        lambda: "certificate has expired" in site.here(look, check=False, errors=True),
    )
    printed = site.compose(doctor, check=False)
    assert "certificate: it expired 2 days ago" in printed
    assert "Install a new one as secrets/tls.crt" in printed

    site.here("cat ../tls.crt >secrets/tls.crt && cat ../tls.key >secrets/tls.key")
    site.compose("restart nginx")
    site.wait("the UI to be back", lambda: site.here(look))


def expired_certificate(host: str) -> tuple[bytes, bytes]:
    """Return a certificate that expired the day before yesterday, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=365))
        .not_valid_after(now - timedelta(days=1, hours=12))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def test_sign_in_and_grid_view(site: Site) -> None:
    printed = site.compose(
        f"--profile browser run --rm -T browser {ADDRESS} admin sendit <secrets/admin_password"
    )
    seen = json.loads(printed.splitlines()[-1])
    say(f"the browser saw {seen['tasks']}")
    assert {"discover", "report"} <= set(seen["tasks"])
    assert seen["links"] > 0
    assert not [each for each in seen["complaints"] if "Content Security Policy" in each]


def test_role_permissions(site: Site) -> None:
    for role in ("Op", "Viewer"):
        site.inside(
            "api-server",
            f"airflow users create --role {role} --username {role.lower()} --firstname A"
            f" --lastname B --email {role}@example.org --password the-{role}-password 2>/dev/null",
        )
    admin = site.admin()
    op, viewer = (site.token(role.lower(), f"the-{role}-password") for role in ("Op", "Viewer"))

    run = {"logical_date": None, "conf": {"number": 1}}
    trigger = "/api/v2/dags/sendit/dagRuns"
    assert site.ask("/api/v2/dags/sendit", token=viewer)[0] == 200
    assert site.ask(trigger, token=viewer, body=run)[0] == 403
    assert site.ask("/api/v2/connections", token=viewer)[0] == 403
    assert site.ask(trigger, token=op, body=run)[0] == 200
    assert site.ask(trigger, token="forged", body=run)[0] in (401, 403)
    for token, status in ((viewer, 403), (op, 403), (admin, 403)):
        assert site.ask("/api/v2/config", token=token)[0] == status
    for token, status in ((viewer, 403), (op, 403), (admin, 200)):
        assert site.ask("/auth/fab/v1/users", token=token)[0] == status
    # An Op may write connections into Airflow's database. They are never looked up there.
    for name in CONNECTIONS:
        connection = {"connection_id": name, "conn_type": "dasher", "host": "https://elsewhere"}
        assert site.ask("/api/v2/connections", token=op, body=connection)[0] == 201
    read = "from sendit.hooks.connections import read_connection as read\n"
    read += "".join(f"print(read('{name}').host)\n" for name in CONNECTIONS)
    hosts = site.compose("exec -T worker python - 2>/dev/null", given=read).split()
    assert hosts == ["postgres", "None", "None"]
    every_route(site, {"Admin": admin, "Op": op, "Viewer": viewer, "nobody": ""})
    site.wait("the run of Op to end", lambda: not site.unfinished())


def every_route(site: Site, tokens: dict[str, str]) -> None:
    """Request every route of Airflow's API as each role, and anonymously."""
    program = (Path(__file__).parent / "routes.py").read_text()
    site.compose("exec -T api-server sh -c 'cat >/tmp/routes.py'", given=program)
    printed = site.compose(
        "exec -T api-server python /tmp/routes.py 2>/dev/null", given=json.dumps(tokens)
    )
    answers: dict[str, dict[str, int]] = json.loads(printed.splitlines()[-1])
    say(f"{len(answers)} routes were asked")
    site.here("cat >routes.json", given=json.dumps(answers))
    assert not [route for route, statuses in answers.items() if max(statuses.values()) >= 500]
    open_to = {
        user: {route for route, statuses in answers.items() if statuses[user] not in (401, 403)}
        for user in tokens
    }
    assert open_to["nobody"] == OPEN_TO_ALL
    assert {route for route in open_to["Viewer"] if not route.startswith("GET")} == VIEWER_POSTS
    assert not open_to["Viewer"] & (NOT_READ | ADMIN | NOBODY)
    assert set(answers) - open_to["Op"] == ADMIN | NOBODY
    assert set(answers) - open_to["Admin"] == NOBODY


def send_studies(site: Site, first: int, last: int, *, images: int = 3) -> None:
    """Send folders with one study each; patient number 1 occurs in every call."""
    with folder() as made:
        for number in range(first, last + 1):
            write_study(
                Path(made) / f"9{number:06}",
                patient=1,
                study=number,
                series=number,
                instances=images,
            )
        site.send(Path(made), site.input)
    if site.root:
        site.run(f"chown -R {site.uid} {site.input}")
    time.sleep(2)  # SENDIT_SETTLE_SECONDS


def done(site: Site) -> int:
    return sum(each["status"] == "DONE" for each in site.batches())


def any_is(site: Site, *states: str) -> bool:
    return any(each["status"] in states for each in site.batches())


def test_killed_worker_and_power_cut_lose_nothing(site: Site) -> None:
    before = done(site)
    send_studies(site, 1, 6, images=40)
    site.trigger()
    site.wait("batches at work", lambda: any_is(site, "PROCESSING", "DONEPROCESSING"))
    say("killing the worker")
    site.crash("worker")
    site.wait("archives to be uploaded", lambda: any_is(site, "DONEPROCESSING", "DONE"))
    say("cutting the power")
    # Nothing is started by hand: Docker restarts each service as after a reboot.
    site.crash(*sorted(SERVICES))
    site.wait("all six studies to be delivered", lambda: done(site) == before + 6, patience=900)
    site.wait("the run to end", lambda: not site.unfinished(), patience=600)
    assert verified(site)
    site.wait("everything to be healthy", lambda: healthy(site))


def verified(site: Site) -> bool:
    """Whether bucket, table, manifests and ledger agree."""
    return " 0 differences" in site.inside("worker", "sendit verify --ledger 2>/dev/null")


def healthy(site: Site) -> bool:
    states = site.states()
    return all(states[name] == "running (healthy)" for name in SERVICES)


def test_restore_onto_new_volumes(site: Site) -> None:
    say("backing up")
    backup = site.here(f"deploy/backup.sh {site.backups}").splitlines()[-1]
    codes = "SELECT * FROM patient_codes ORDER BY 1"
    before, batches = site.ledger(codes), site.batches()
    assert before
    say("destroying the site; what is in the cloud stays")
    own = " ".join(sorted(SERVICES | {"init"}))
    site.compose(f"rm --stop --force {own}")
    volumes = " ".join(f"sendit-tests_{name}" for name in ("postgres", "sendit", "logs", "redis"))
    site.run(f"docker volume rm {volumes}")
    site.here("rm -r secrets .env")
    say("restoring")
    printed = site.here(f"deploy/restore.sh {backup}", errors=True)
    assert "restored the database airflow" in printed
    assert "restored the database ledger" in printed
    assert " 0 differences" in printed
    assert "Start the rest" in printed
    assert set(site.compose("ps --services --status running").split()) == {
        *("postgres", "gcs", "bigquery"),
    }
    site.compose("up --detach --wait", patience=900)
    assert site.ledger(codes) == before
    restored = {each["id"]: each for each in site.batches()}
    assert restored == {each["id"]: each for each in batches}
    again = site.here(f"deploy/restore.sh {backup}", errors=True, check=False)
    assert "the volume has databases already" in again
    assert verified(site)


def test_update_and_secret_rotation_during_a_run(site: Site) -> None:
    """docs/production.md: stop, change the databases' passwords and the Fernet key, update."""
    running = "docker inspect --format '{{.Image}}' sendit-tests-worker-1"
    own = " ".join(sorted(SERVICES | {"init"}))  # external services keep running
    image, before = site.run(running), done(site)
    names = site.ledger("SELECT object FROM deliveries")
    old, new = site.here("cat secrets/fernet_key").strip(), Fernet.generate_key().decode()
    variable = {"key": "word", "value": "kept"}
    assert site.ask("/api/v2/variables", token=site.admin(), body=variable)[0] == 201

    # Batches in every state: done, running and queued.
    send_studies(site, 7, 14, images=40)
    site.trigger()
    site.wait("batches at work", lambda: any_is(site, "PROCESSING", "DONEPROCESSING"))
    say(f"stopping; batches: {dict(Counter(each['status'] for each in site.batches()))}")
    begun = time.monotonic()
    site.compose(f"stop {own}")
    say(f"stopped after {time.monotonic() - begun:.0f} s")
    killed = {name for name, state in site.states().items() if state == "exited (137)"}
    assert not killed, "a service that does not end when asked is killed after its grace period"

    for file, role in (("metadata_url", "airflow"), ("connections.yaml", "sendit")):
        password = secrets.token_hex(24)
        site.here(f"sed -i 's|//{role}:[0-9a-f]*@|//{role}:{password}@|' secrets/{file}")
    site.here("cat >secrets/fernet_key", given=f"{new},{old}")
    site.here("echo '# the next version' >>plugins/sendit/errors.py")
    say("building and starting the next version")
    site.compose(f"up --detach --build --force-recreate --wait {own}", patience=1200)
    assert site.run(running) != image
    site.inside(
        "worker",
        "grep -q 'the next version' /opt/sendit/lib/python3*/site-packages/sendit/errors.py",
    )
    site.wait("all eight studies to be delivered", lambda: done(site) == before + 8, patience=900)
    site.wait("the run to end", lambda: not site.unfinished(), patience=600)
    assert verified(site)
    # The same patient as before the restore.
    patients = {
        name.split("/Entity/")[1].split("/")[0]
        for name in set(site.ledger("SELECT object FROM deliveries")) - set(names)
    }
    (patient,) = patients
    assert any(f"/Entity/{patient}/" in name for name in names)

    site.inside("scheduler", "airflow rotate-fernet-key 2>/dev/null")
    value = site.sql("airflow", "SELECT val FROM variable WHERE key = 'word'")[0]
    assert Fernet(new).decrypt(value) == b"kept"  # the old key is no longer needed


def test_old_logs_and_metrics_are_deleted(site: Site) -> None:
    made = {
        "scheduler": "/opt/airflow/logs/dag_id=gone/old.log /opt/airflow/logs/dag_id=kept/new.log",
        "worker": "/var/lib/sendit/metrics/old.tsv /var/lib/sendit/metrics/new.tsv",
    }
    for service, files in made.items():
        site.inside(
            service,
            f'for file in {files}; do mkdir -p "$(dirname "$file")" && touch "$file"; done;'
            f" touch -d '100 days ago' {files.split()[0]}",
        )
    runs = site.sql("airflow", "SELECT count(*) FROM dag_run")
    assert "deleted" in site.here("deploy/retention.sh 90")
    for service, files in made.items():
        assert site.inside(service, f"ls {files} 2>/dev/null", check=False).split() == [
            files.split()[1]
        ]
    assert site.sql("airflow", "SELECT count(*) FROM dag_run") == runs


def test_codes_come_from_dasher(site: Site) -> None:
    """The stand-in listens on the worker's 127.0.0.1, the only address allowed without TLS."""
    site.here(
        "sed -i 's|^  conn_type: dasher|&\\n  host: http://127.0.0.1:8099/identifiers/api|'"
        " secrets/connections.yaml"
    )
    settings = "SENDIT_IDENTIFIERS=dasher\nSENDIT_STUDY=coded\n"
    settings += 'SENDIT_PATIENT_ID_SOURCES=\'{"General Hospital": "Stanford MRN"}\'\n'
    site.here("cat >>.env", given=settings)
    say("starting the worker with DASHER")
    site.compose("up --detach --no-deps --wait worker", patience=600)
    site.here(
        "docker run --detach --rm --name sendit-tests-dasher"
        " --network container:sendit-tests-worker-1"
        f" --user {site.uid}:0 -v $PWD/testing/dasher_standin.py:/opt/dasher_standin.py:ro"
        " -v $PWD/secrets/dasher:/tokens sendit-tests-stand-ins"
        " python /opt/dasher_standin.py --port 8099 --secrets /tokens/tokens.json"
    )
    try:
        printed = site.inside("worker", "sendit doctor 2>/dev/null", check=False)
        assert "DASHER: " in printed
        assert "WRONG" not in printed
        before = done(site)
        send_studies(site, 15, 16)
        site.trigger()
        site.wait("both studies to be delivered", lambda: done(site) == before + 2)
        site.wait("the run to end", lambda: not site.unfinished())
        coded = [
            name.split("/Entity/")[1].split("/")[0]
            for name in site.ledger("SELECT object FROM deliveries")
            if name.startswith("Collection/coded/")
        ]
        assert len(coded) == 2
        assert len(set(coded)) == 1
        ask = "import urllib.request as u; "
        ask += "print(u.urlopen('http://127.0.0.1:8099/control/seen').read().decode())"
        seen = json.loads(site.inside("worker", f'python -c "{ask}"'))
        assert seen
    finally:
        say(site.run("docker logs --tail 5 sendit-tests-dasher 2>&1", check=False))
        site.run("docker rm --force sendit-tests-dasher", check=False)


def test_password_guessing_is_rate_limited_per_user(site: Site) -> None:
    # All at once, as many as the limit of two windows and more: however slow the machine is.
    guess = (
        "rm -f jar; ask='curl -sk -b jar --resolve sendit.example.org:8443:127.0.0.1';"
        f" token=$($ask -c jar {ADDRESS}/auth/login/ | grep -o 'name=\"csrf_token\"[^>]*' |"
        " grep -o 'value=\"[^\"]*' | cut -c8-);"
        " seq TIMES | xargs -P TIMES -I+ $ask -o /dev/null -w '%{http_code}\\n'"
        f' -e {ADDRESS}/auth/login/ --data-urlencode "csrf_token=$token"'
        f" --data username=USER --data password=wrong {ADDRESS}/auth/login/"
    )
    statuses = site.here(guess.replace("USER", "op").replace("TIMES", "24")).split()
    assert set(statuses) == {"302", "429"}, statuses
    assert site.here(guess.replace("USER", "viewer").replace("TIMES", "1")).strip() == "302"


def test_openid_sign_in(site: Site) -> None:
    client = {"issuer": "http://provider:9400", "client_id": "sendit", "client_secret": "x"}
    site.here("umask 077; cat >secrets/oidc.json", given=json.dumps(client))
    if site.root:
        site.here(f"chown {site.uid} secrets/oidc.json")
    files = "docker-compose.yaml:tests/containers/stand-ins.yaml:deploy/examples/oidc.yaml"
    more = f"COMPOSE_FILE={files}:tests/containers/provider.yaml\n"
    site.here("cat >>.env", given=more)
    say("starting the API server with an OpenID provider")
    site.compose("up --detach --no-deps provider", patience=300)
    site.compose("up --detach --no-deps --wait api-server", patience=600)
    site.wait("the UI to be back", lambda: site.ask("/api/v2/version")[0] == 200)
    program = (Path(__file__).parent / "openid.py").read_text()
    printed = site.compose(
        f"exec -T provider python3.12 - {ADDRESS} {' '.join(PEOPLE)}", given=program
    )
    assert json.loads(printed.splitlines()[-1]) == PEOPLE
