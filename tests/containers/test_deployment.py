"""docker-compose.yaml as committed, in containers: built, started, broken, restored and updated.

The tests are one story and run in this order; the first that fails ends it.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.samples import SAMPLES
from testing.builder import write_study
from tests.containers.site import ADDRESS, Site, folder, say

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1500)]

COUNTS = ("delivered", "filtered", "quarantined", "duplicate")
MAX_IMAGE_BYTES = 1.2e9
SERVICES = {
    *("postgres", "redis", "api-server", "scheduler", "dag-processor", "worker", "nginx"),
}
CONNECTIONS = ("sendit_ledger", "google_cloud_default", "sendit_dasher")


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


def test_the_image_is_built_by_the_project_s_own_dockerfile(site: Site) -> None:
    say("building the images")
    site.compose("--profile browser build", patience=1400)
    size = int(site.run("docker image inspect --format '{{.Size}}' sendit:2.0.0"))
    say(f"the image has {size / 1e6:.0f} MB")
    assert size <= MAX_IMAGE_BYTES
    # Whatever uid runs it: nothing of the program can be changed, and all of it can be read.
    look = "find /opt/sendit /opt/airflow ! -type l \\( -writable -o ! -readable \\)"
    found = site.run(f"docker run --rm --user 4321:0 sendit:2.0.0 {look}").split()
    assert found == ["/opt/airflow/logs"]
    printed = site.run("docker run --rm --user 4321:0 sendit:2.0.0 sendit --version")
    assert "sendit 2." in printed


def test_one_up_ends_with_everything_healthy(site: Site) -> None:
    say("starting for the first time")
    begun = time.monotonic()
    site.compose("up --detach --wait", patience=900)
    say(f"all healthy after {time.monotonic() - begun:.0f} s")
    states = site.states()
    assert states["init"] == "exited (0)"
    assert {name: states[name] for name in SERVICES} == dict.fromkeys(SERVICES, "running (healthy)")


def test_only_nginx_is_reachable_and_each_process_only_what_it_needs(site: Site) -> None:
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
    # Those who serve Google Cloud's part here stand for what is outside.
    assert site.compose("exec -T gcs python -", given=reach).split() == ["gcs"]
    held = site.inside("worker", "ls /run/secrets").split()
    assert sorted(held) == ["broker_url", "connections.yaml", "google_key.json", "sendit_key"]


def test_the_samples_end_as_they_must(site: Site) -> None:
    make = "from pathlib import Path; from demo.samples import make_samples; "
    make += "make_samples(Path('/out'))"
    site.compose(
        f'run --rm --no-deps -T --user {site.uid}:0 -v {site.input}:/out gcs python -c "{make}"'
    )
    site.inside("scheduler", "airflow dags unpause sendit >/dev/null")  # takes all there is
    wanted = Counter((each.status, *(getattr(each, n) for n in COUNTS)) for each in SAMPLES)
    begun = time.monotonic()

    def ended() -> bool:
        found = [(each["status"], *(each[n] for n in COUNTS)) for each in site.batches()]
        return Counter(found) == wanted

    site.wait("the seven samples to end as they must", ended)
    site.wait("the run to end", lambda: not site.unfinished())
    say(f"after {time.monotonic() - begun:.0f} s")
    assert "0 differences" in site.inside("worker", "sendit verify --ledger 2>/dev/null")


def test_the_doctor_finds_nothing_wrong(site: Site) -> None:
    printed = site.inside("worker", "sendit doctor 2>/dev/null", check=False)
    say("the doctor says:\n" + printed)
    assert "WRONG" not in printed
    assert printed.count("\n") >= 12
    # The address of the UI is no name in these networks; the file is there, on the machine.
    certificate = site.compose(
        "exec -T worker sh -c 'cat >/tmp/tls.crt; sendit doctor --certificate /tmp/tls.crt'"
        " <secrets/tls.crt 2>/dev/null"
    )
    assert "certificate: ends in 36" in certificate


def test_a_person_signs_in_and_sees_the_grid(site: Site) -> None:
    printed = site.compose(
        f"--profile browser run --rm -T browser {ADDRESS} admin sendit <secrets/admin_password"
    )
    seen = json.loads(printed.splitlines()[-1])
    say(f"the browser saw {seen['tasks']}")
    assert {"discover", "report"} <= set(seen["tasks"])
    assert seen["links"] > 0
    assert not [each for each in seen["complaints"] if "Content Security Policy" in each]


def test_each_role_may_do_what_it_may(site: Site) -> None:
    for role in ("Op", "Viewer"):
        site.inside(
            "api-server",
            f"airflow users create --role {role} --username {role.lower()} --firstname A"
            f" --lastname B --email {role}@example.org --password the-{role}-password 2>/dev/null",
        )
    password = site.here("cat secrets/admin_password").strip()
    admin = site.token("admin", password)
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
    # An Op may write connections into Airflow's database. Nobody looks at them there.
    for name in CONNECTIONS:
        connection = {"connection_id": name, "conn_type": "dasher", "host": "https://elsewhere"}
        assert site.ask("/api/v2/connections", token=op, body=connection)[0] == 201
    read = "from sendit.hooks.connections import read_connection as read\n"
    read += "".join(f"print(read('{name}').host)\n" for name in CONNECTIONS)
    hosts = site.compose("exec -T worker python - 2>/dev/null", given=read).split()
    assert hosts == ["postgres", "None", "None"]
    site.wait("the run of Op to end", lambda: not site.unfinished())


def send_studies(site: Site, first: int, last: int, *, images: int = 3) -> None:
    """Send folders with one study each; the patient of number 1 is everyone's."""
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


def done(site: Site) -> int:
    return sum(each["status"] == "DONE" for each in site.batches())


def test_a_worker_is_killed_in_the_middle_of_a_run(site: Site) -> None:
    before = done(site)
    send_studies(site, 1, 6, images=40)
    time.sleep(2)
    site.trigger()
    site.wait(
        "batches at work",
        lambda: any(each["status"] in ("PROCESSING", "DONEPROCESSING") for each in site.batches()),
    )
    say("killing the worker")
    site.compose("kill worker")
    time.sleep(5)
    site.compose("up --detach --wait --no-deps worker")
    site.wait("all six studies to be delivered", lambda: done(site) == before + 6, patience=900)
    site.wait("the run to end", lambda: not site.unfinished(), patience=600)
    assert "0 differences" in site.inside("worker", "sendit verify --ledger 2>/dev/null")


def test_everything_is_restored_onto_fresh_volumes(site: Site) -> None:
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
    found = {each["id"]: each for each in site.batches()}
    assert found == {each["id"]: each for each in batches}
    again = site.here(f"deploy/restore.sh {backup}", errors=True, check=False)
    assert "the volume has databases already" in again
    assert "0 differences" in site.inside("worker", "sendit verify --ledger 2>/dev/null")


def test_a_known_patient_has_the_same_code_after_the_restore(site: Site) -> None:
    names = site.ledger("SELECT object FROM deliveries")
    before = done(site)
    send_studies(site, 7, 7)
    time.sleep(2)
    site.trigger()
    site.wait("the study to be delivered", lambda: done(site) == before + 1)
    site.wait("the run to end", lambda: not site.unfinished())
    new = set(site.ledger("SELECT object FROM deliveries")) - set(names)
    assert len(new) == 1
    patient = new.pop().split("/Entity/")[1].split("/")[0]
    assert any(f"/Entity/{patient}/" in name for name in names)


def test_an_update_to_a_newly_built_image(site: Site) -> None:
    running = "docker inspect --format '{{.Image}}' sendit-tests-worker-1"
    before, batches = site.run(running), site.batches()
    site.here("echo '# the next version' >>plugins/sendit/errors.py")
    say("building and starting the next version")
    site.compose("up --detach --build --wait", patience=1200)
    assert site.run(running) != before
    assert site.batches() == batches
    site.inside(
        "worker",
        "grep -q 'the next version' /opt/sendit/lib/python3*/site-packages/sendit/errors.py",
    )


def test_guessing_a_password_is_slowed_down_for_that_user_alone(site: Site) -> None:
    guess = (
        "rm -f jar; for n in $(seq 14); do"
        " token=$(curl -sk -c jar -b jar --resolve sendit.example.org:8443:127.0.0.1"
        f" {ADDRESS}/auth/login/ | grep -o 'name=\"csrf_token\"[^>]*' | grep -o 'value=\"[^\"]*' |"
        " cut -c8-);"
        " curl -sk -c jar -b jar --resolve sendit.example.org:8443:127.0.0.1 -o /dev/null"
        f" -w '%{{http_code}} ' -e {ADDRESS}/auth/login/ --data-urlencode \"csrf_token=$token\""
        f" --data username=USER --data password=wrong {ADDRESS}/auth/login/; done"
    )
    statuses = site.here(guess.replace("USER", "op")).split()
    assert statuses[0] != "429"
    assert statuses[-1] == "429", statuses
    assert site.here(guess.replace("USER", "viewer").replace("seq 14", "seq 1")).strip() != "429"


def test_stopping_in_the_middle_of_a_run_is_quick_and_loses_nothing(site: Site) -> None:
    before = done(site)
    send_studies(site, 8, 11, images=40)
    time.sleep(2)
    site.trigger()
    site.wait("batches at work", lambda: any(e["status"] == "PROCESSING" for e in site.batches()))
    begun = time.monotonic()
    site.compose("stop")
    seconds = time.monotonic() - begun
    say(f"stopped after {seconds:.0f} s")
    site.compose("up --detach --wait", patience=900)
    site.wait("all four studies to be delivered", lambda: done(site) == before + 4, patience=900)
    site.wait("the run to end", lambda: not site.unfinished(), patience=600)
