"""What the tasks of a SLURM array are told: the run's configuration as a file that says where raw clips are."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from deemo_dist.config import RunConfig, to_yaml
from deemo_dist.digests import digest_of
from deemo_dist.errors import LaunchError
from deemo_dist.storage.files import write_whole


@dataclass(frozen=True)
class Told:
    """A file that every node reads and its owner alone may, beside the folder of the logs and not in it: logs are shown
    and kept. ``before``: where earlier releases put it, and left it."""

    path: Path
    before: Path

    @staticmethod
    def of(config: RunConfig) -> "Told":
        """It is called after the dataset, where it is stored, and the number of tasks: a driver that comes back writes
        the same one."""
        place = digest_of({"root": config.storage.root, "tasks": config.launch.tasks})[:8]
        name = f"{config.data.name}-{config.data.version}-{place}.yaml"
        logs = Path(config.launch.workdir or Path.cwd(), config.launch.logs)
        return Told(path=logs.with_name(f"{logs.name}.private") / name, before=logs / name)

    def exists(self) -> bool:
        """Whether it is there, or one of an earlier release is."""
        return self.path.exists() or self.before.exists()

    def write(self, config: RunConfig) -> None:
        """Write it whole, for its owner alone. Raises ``LaunchError``."""
        try:
            _make_private(self.path.parent)
            write_whole(self.path, lambda file: file.write(to_yaml(config).encode()))
            self.path.chmod(0o600)
        except OSError as error:
            raise LaunchError(
                f"what the tasks are to do cannot be written to {self.path.parent}: {error.strerror}",
                hint="choose launch.logs beside which a folder of your own can be made, and that every node sees",
            ) from None

    def remove(self) -> None:
        """Take it away, and the one of an earlier release."""
        self.path.unlink(missing_ok=True)
        self.before.unlink(missing_ok=True)


def _make_private(folder: Path) -> None:
    """Make the folder, or close one that is there to others. Raises ``OSError``, also where it is somebody else's."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(errno.EPERM, "it is somebody else's")
    folder.chmod(0o700)
