"""`make chaos-containers ROUNDS=30`: one fault per round in the deployment, then the guarantees
are checked.

A round sends studies, starts a run, and at a random moment breaks a random service: it is killed
and started again after a while, restarted, paused, or its process ends and Docker restarts it; or
all of them end at once, as in a power cut. In every case each study must then be delivered exactly
once: bucket, table, manifests and ledger agree, and nothing is left in the queue. A round is
determined by the seed and its number.

Volumes are small disks in memory (small-disks.yaml), and a round may fill one for a while.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from testing.builder import write_study
from tests.containers.site import Failed, Site, say

SERVICES = ("postgres", "redis", "api-server", "scheduler", "dag-processor", "worker", "nginx")
#: Stand-ins for external services may fail, too.
OUTSIDE = ("gcs", "bigquery")
WAYS = ("kill", "restart", "pause", "crash")
VOLUMES = ("postgres", "redis", "sendit", "logs")
#: One in this many rounds is a power cut, or fills a disk.
RARE = 5
MAX_DELAY = 40.0  # seconds after the run's start
MAX_ABSENCE = 30.0  # seconds that a killed or paused service stays away
STUDIES = 2


class Chaos:
    """Rounds on one site.

    Parameters
    ----------
    site
        The running deployment.
    seed
        Determines studies and moments.
    """

    def __init__(self, site: Site, seed: int) -> None:
        self.site = site
        self.seed = seed
        self.sent = 0
        self.kept: Counter[str] = Counter()

    def round(self, number: int) -> None:
        """Send, start, break, repair, and check the guarantees."""
        chance = random.Random(f"{self.seed} {number}")
        rare = chance.randrange(RARE)
        if rare == 0:
            service, way = "everything", "power cut"
        elif rare == 1:
            service, way = chance.choice(VOLUMES), "full disk"
        else:
            service = chance.choice(SERVICES + OUTSIDE)
            # A stand-in keeps its table in memory: if killed, it would lose what the real service
            # keeps.
            way = "pause" if service == "bigquery" else chance.choice(WAYS)
        delay, absence = chance.uniform(1, MAX_DELAY), chance.uniform(1, MAX_ABSENCE)
        say(f"round {number}: {way} of {service} after {delay:.0f} s")
        self.send(number, chance)
        self.site.trigger()
        time.sleep(delay)
        self.break_it(service, way, absence)
        self.site.wait(f"{self.sent} studies to be delivered", self.delivered, patience=1500)
        self.site.wait("the runs to end", lambda: not self.site.unfinished(), patience=900)
        said = self.site.inside("worker", "sendit verify --ledger 2>/dev/null", check=False)
        if f"{self.sent} archives, 0 differences" not in said:
            raise Failed(f"the promise is broken:\n{said}")
        self.kept[f"{way} of {service}"] += 1

    def send(self, number: int, chance: random.Random) -> None:
        """Send new studies of two patients."""
        with tempfile.TemporaryDirectory(prefix="sendit-chaos-") as made:
            for each in range(STUDIES):
                study = number * STUDIES + each
                write_study(
                    Path(made) / f"8{study:06}",
                    patient=1 + study % 2,
                    study=study,
                    series=study,
                    instances=chance.randint(1, 60),
                )
            self.site.send(Path(made), self.site.input)
        self.sent += STUDIES
        if self.site.root:
            self.site.run(f"chown -R {self.site.uid} {self.site.input}")
        time.sleep(2)  # SENDIT_SETTLE_SECONDS

    def break_it(self, service: str, way: str, absence: float) -> None:
        """Break a service, all services, or a disk, and restore it after a while."""
        if way == "power cut":
            self.site.crash(*SERVICES)
        elif way == "full disk":
            fill = f"cat /dev/zero >/disks/{service}/fill 2>/dev/null"
            self.site.inside("keeper", f"{fill}; sleep {absence:.0f}; {fill}; true")
            self.site.inside("keeper", f"rm /disks/{service}/fill")
        elif way == "crash":
            self.site.crash(service)
        elif way == "restart":
            self.site.compose(f"restart {service}")
        else:
            self.site.compose(f"{way} {service}")
            time.sleep(absence)
            back = "unpause" if way == "pause" else "up --detach --no-deps"
            self.site.compose(f"{back} {service}")

    def delivered(self) -> bool:
        """Whether everything is delivered; failed batches are requeued, as a person would do."""
        batches = self.site.batches()
        done = sum(each["status"] == "DONE" for each in batches)
        if done < self.sent and not self.site.unfinished():
            for each in batches:
                if each["status"] == "ERROR":
                    self.site.inside("worker", f"sendit requeue {each['id']} >/dev/null")
            self.site.trigger()
        return done == self.sent


def main() -> int:
    """Run rounds; stop at the first that violates a guarantee."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--first", type=int, default=1, help="the first round's number")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    site = Site()
    chaos = Chaos(site, options.seed)
    try:
        site.send_checkout()
        site.prepare(
            compose_file="tests/containers/small-disks.yaml",
            SENDIT_DISK_MARGIN_MB="20",
        )
        say("building")
        site.compose("build", patience=1400)
        site.compose("up --detach keeper")
        site.compose("up --detach --wait", patience=900)
        site.inside("scheduler", "airflow dags unpause sendit >/dev/null")
        for number in range(options.first, options.first + options.rounds):
            chaos.round(number)
            say(f"round {number}: kept")
    except Failed as problem:
        print(problem, site.story(), sep="\n", file=sys.stderr)
        return 1
    finally:
        for kind, times in sorted(chaos.kept.items()):
            print(f"{times:4}  {kind}")
        print(f"{chaos.kept.total()} of {options.rounds} rounds ended in the promise")
        site.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
