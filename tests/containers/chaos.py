"""`make chaos-containers ROUNDS=30`: the deployment, broken once a round; the promise checked.

A round sends studies, starts a run, and at a random moment kills, restarts or pauses a random
service. However it ends, every study must then be delivered, once: bucket, table, manifests and
ledger agree, and nothing waits. The studies and the moments follow from the seed.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from testing.builder import write_study
from tests.containers.site import Failed, Site, say

SERVICES = ("postgres", "redis", "api-server", "scheduler", "dag-processor", "worker", "nginx")
#: Stand-ins for what is outside may go away, too.
OUTSIDE = ("gcs", "bigquery")
WAYS = ("kill", "restart", "pause")
MAX_DELAY = 40.0  # seconds after the run's start
STUDIES = 2


class Chaos:
    """Rounds on one site.

    Parameters
    ----------
    site
        The deployment, running.
    seed
        What studies and moments follow from.
    """

    def __init__(self, site: Site, seed: int) -> None:
        self.site = site
        self.random = random.Random(seed)
        self.sent = 0

    def round(self, number: int) -> None:
        """Send, start, break, mend, and look at the promise."""
        service = self.random.choice(SERVICES + OUTSIDE)
        # A stand-in keeps its table in memory: killed, it would lose what the real one keeps.
        way = "pause" if service == "bigquery" else self.random.choice(WAYS)
        delay = self.random.uniform(1, MAX_DELAY)
        say(f"round {number}: {way} {service} after {delay:.0f} s")
        self.send()
        self.site.trigger()
        time.sleep(delay)
        self.break_it(service, way)
        self.site.wait(f"{self.sent} studies to be delivered", self.delivered, patience=1500)
        self.site.wait("the runs to end", lambda: not self.site.unfinished(), patience=900)
        said = self.site.inside("worker", "sendit verify --ledger 2>/dev/null")
        if f"{self.sent} archives, 0 differences" not in said:
            raise Failed(f"the promise is broken:\n{said}")

    def send(self) -> None:
        """Send new studies, of two patients."""
        with tempfile.TemporaryDirectory(prefix="sendit-chaos-") as made:
            for _ in range(STUDIES):
                self.sent += 1
                folder = Path(made) / f"8{self.sent:06}"
                patient, images = 1 + self.sent % 2, self.random.randint(1, 60)
                write_study(
                    folder, patient=patient, study=self.sent, series=self.sent, instances=images
                )
            self.site.send(Path(made), self.site.input)
        if self.site.root:
            self.site.run(f"chown -R {self.site.uid} {self.site.input}")
        time.sleep(2)  # SENDIT_SETTLE_SECONDS

    def break_it(self, service: str, way: str) -> None:
        """Break a service, and have it back after a while."""
        if way == "restart":
            self.site.compose(f"restart {service}")
            return
        self.site.compose(f"{way} {service}")
        time.sleep(self.random.uniform(1, 30))
        self.site.compose(f"{'unpause' if way == 'pause' else 'up --detach --no-deps'} {service}")

    def delivered(self) -> bool:
        """Whether everything is delivered; a failed task is cleared, as a person would."""
        batches = self.site.batches()
        done = sum(each["status"] == "DONE" for each in batches)
        if done < self.sent and not self.site.unfinished():
            for each in batches:
                if each["status"] == "ERROR":
                    self.site.inside("worker", f"sendit requeue {each['id']} >/dev/null")
            self.site.trigger()
        return done == self.sent


def main() -> int:
    """Run rounds; end with the first that breaks the promise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    site = Site()
    try:
        site.send_checkout()
        site.prepare()
        say("building")
        site.compose("build", patience=1400)
        site.compose("up --detach --wait", patience=900)
        site.inside("scheduler", "airflow dags unpause sendit >/dev/null")
        chaos = Chaos(site, options.seed)
        for number in range(1, options.rounds + 1):
            chaos.round(number)
            say(f"round {number} of {options.rounds}: kept")
    except Failed as problem:
        print(problem, site.story(), sep="\n", file=sys.stderr)
        return 1
    finally:
        site.end()
    print(f"{options.rounds} of {options.rounds} rounds ended in the promise")
    return 0


if __name__ == "__main__":
    sys.exit(main())
