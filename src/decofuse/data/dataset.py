"""What a dataset declares of itself: its sources, where they come from, how files are named, what labels mean.

Types only: the declarations of the public datasets are in `decofuse.data.registry`, and reach the stages as values.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from decofuse.data.classes import Colour

Task = Literal["infrared-visible", "medical", "multi-exposure", "multi-focus", "single"]
Kind = Literal["archive", "manual", "local"]

SOURCES: Mapping[Task, tuple[str, ...]] = {
    "infrared-visible": ("visible", "infrared"),
    "medical": ("source_a", "source_b"),  # source_a is MRI; source_b is CT, PET or SPECT
    "multi-exposure": ("source_a", "source_b"),
    "multi-focus": ("source_a", "source_b"),
    "single": ("image",),
}
FUSION_TASKS: tuple[Task, ...] = tuple(task for task, sources in SOURCES.items() if len(sources) == 2)
IGNORED_LABEL = 255  # a pixel with this label belongs to no class, in every dataset


@dataclass(frozen=True)
class Dataset:
    """One dataset.

    Attributes:
        name: Its name in presets, paths and split files.
        task: What is fused; it fixes the names of the sources.
        files: Template of each source and, where there are labels, of `label`.
        repository: GitHub owner/name/branch of a dataset that can be downloaded, else empty.
        page: Project page of a dataset that has to be fetched by hand, else empty.
        classes: Names of the label classes by index; empty where there are no labels or they are not known.
        colours: Colour of each class (RGB) in label maps that show colours; empty where the classes have none.
        void: A label value beside IGNORED_LABEL that belongs to no class.
        about: Licence and citation, in one line.
    """

    name: str
    task: Task
    files: Mapping[str, str] = field(hash=False)
    repository: str = ""
    page: str = ""
    classes: tuple[str, ...] = ()
    colours: tuple[Colour, ...] = ()
    void: int | None = None
    about: str = ""

    def __post_init__(self) -> None:
        if self.colours and len(self.colours) != len(self.classes):
            raise ValueError(f"{self.name}: {len(self.classes)} classes, {len(self.colours)} colours")

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the images that make a pair, in order."""
        return SOURCES[self.task]

    @property
    def kind(self) -> Kind:
        """`archive` is downloaded, `manual` is put in place by hand, `local` is generated or one's own."""
        return "archive" if self.repository else "manual" if self.page else "local"

    @property
    def has_split_folders(self) -> bool:
        """Whether the dataset's own folders say which split a scene belongs to."""
        return any("{split}" in template for template in self.files.values())

    @property
    def url(self) -> str:
        """Address of the archive; only for kind `archive`."""
        owner, name, branch = self.repository.split("/")
        return f"https://github.com/{owner}/{name}/archive/refs/heads/{branch}.zip"


def local(name: str, task: Task = "infrared-visible", classes: tuple[str, ...] = ()) -> Dataset:
    """A dataset in a folder of one's own: one sub-folder a source, optionally `labels` and `splits.csv`.

    `splits.csv` has the header `split,stem`. Without it every pair belongs to `test`.
    """
    files = {source: f"{source}/{{stem}}" for source in SOURCES[task]} | {"label": "labels/{stem}"}
    return Dataset(name, task, files, classes=classes)
