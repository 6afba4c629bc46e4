"""A Ray cluster of two nodes of one core each on this machine: `python -m tests.two_nodes DIR DIR`.

Each node keeps its temporary files in a folder of its own. Prints the cluster's address, and runs
until stdin ends. A process of its own, because Ray forks, and those who use Lance must not.
"""

import sys
import tempfile

from ray.cluster_utils import Cluster

STORE_BYTES = 100 << 20


def main(folders: list[str]) -> None:
    cluster = Cluster()
    with tempfile.TemporaryDirectory(prefix="reel-", dir="/tmp") as short:  # for sockets' paths
        try:
            for folder, only in zip(folders, ({"temp_dir": short}, {}), strict=True):
                cluster.add_node(
                    object_store_memory=STORE_BYTES,
                    include_dashboard=False,
                    env_vars={"TMPDIR": folder},
                    **only,
                )
            print(cluster.address, flush=True)
            sys.stdin.read()
        finally:
            cluster.shutdown()


if __name__ == "__main__":
    main(sys.argv[1:])
