"""The code digest: what counts as a change of code, and of whose."""

import pytest

from decofuse.tracking import code


@pytest.fixture
def package(tmp_path, monkeypatch):
    root = tmp_path / "decofuse"
    (root / "sub").mkdir(parents=True)
    files = {
        "__init__.py": "",
        "sub/__init__.py": "",
        "stage.py": '"""Doc."""\nfrom decofuse.sub import shared\n\ndef f():\n    from .lazy import g\n    return g\n',
        "sub/shared.py": "VALUE = 1\n",
        "lazy.py": "def g():\n    return 1\n",
        "other.py": "X = 1\n",
    }
    for name, text in files.items():
        (root / name).write_text(text)
    monkeypatch.setattr(code, "ROOT", tmp_path)
    monkeypatch.setattr(code, "_TAKEN", {})

    def digest():
        code._read.cache_clear()
        return code.digest(["decofuse.stage"])

    digest.root = root
    return digest


def test_closure_follows_imports_inside_functions_and_parent_packages(package):
    names = {path.relative_to(package.root).as_posix() for path in code.closure(["decofuse.stage"])}
    assert names == {"__init__.py", "sub/__init__.py", "stage.py", "sub/shared.py", "lazy.py"}


@pytest.mark.parametrize(
    ("file", "old", "new", "counts"),
    [
        ("sub/shared.py", "VALUE = 1", "VALUE = 2", True),
        ("lazy.py", "return 1", "return 2", True),
        ("stage.py", "return g", "return g  # why", False),
        ("stage.py", '"""Doc."""', '"""Other."""', False),
        ("lazy.py", "    return 1", '    """Say 1."""\n\n    return 1', False),
        ("other.py", "X = 1", "X = 2", False),
    ],
)
def test_what_changes_the_digest(package, file, old, new, counts):
    before = package()
    path = package.root / file
    path.write_text(path.read_text().replace(old, new))
    assert (package() != before) == counts


def test_unknown_module_is_refused(package):
    with pytest.raises(ValueError, match="no such module"):
        code.digest(["decofuse.nowhere"])


def test_a_changed_digest_is_traced_to_the_modules_that_changed(package, tmp_path):
    records = tmp_path / "records"
    before = package()
    code.remember(records)
    (package.root / "sub/shared.py").write_text("VALUE = 2\n")
    (package.root / "stage.py").write_text('"""Other."""\nfrom decofuse.sub import shared\nimport decofuse.other\n')
    after = package()
    assert code.changed(records, before, after) == []
    code.remember(records)
    assert code.changed(records, before, after) == [
        *("decofuse/lazy.py", "decofuse/other.py", "decofuse/stage.py", "decofuse/sub/shared.py"),
    ]
